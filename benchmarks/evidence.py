"""Is the heaviest sentence the one that carries the claim? Against sentences marked by hand in posts of the test part.

    python benchmarks/evidence.py [--model models/mine] [--card]

`data/annotations/evidence.jsonl` holds, for each label of 155 posts of two to 24 sentences, the sentences in which a reader finds the
claim or its direct denial (offsets in the post's text). A hit: at least half of the top sentence lies inside a marked one. *By chance* is
what a sentence drawn at random would hit. Labels the bundle misses are asked for all the same, and counted apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from narratives import ScoreConfig, Scorer
from narratives.bundle import load
from narratives.training.card import add_to_card
from narratives.training.corpus import read_corpus
from narratives.training.metrics import wilson


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--marks", type=Path, default=Path("data/annotations/evidence.jsonl"))
    parser.add_argument("--model", default=None)
    parser.add_argument("--card", action="store_true", help="keep the figures in the bundle's metrics and card")
    arguments = parser.parse_args()
    bundle = load(arguments.model)
    # Every label is asked for, whatever its probability: the threshold then only says which column a mark is counted in.
    asking = dataclasses.replace(bundle, calibration=dataclasses.replace(bundle.calibration, thresholds=(0.0,) * len(bundle.labels)))
    marks = [json.loads(line) for line in arguments.marks.read_text(encoding="utf-8").splitlines()]
    wanted = {mark["id"] for mark in marks}
    posts = [post for post in read_corpus(arguments.data, bundle.taxonomy) if post.id in wanted]
    found = {p.post.id: p for p in Scorer.from_bundle(asking, config=ScoreConfig()).predict(posts)}
    thresholds = dict(zip(bundle.labels, bundle.calibration.thresholds, strict=True))
    counted: dict[str, list[tuple[bool, float]]] = {"flagged": [], "missed": [], "flagged, six sentences or more": []}
    for mark in marks:
        prediction = found[mark["id"]]
        label = mark["label"]
        top = max((e for e in prediction.evidence if e.label == label), key=lambda e: e.weight)
        inside = max(max(0, min(top.end, end) - max(top.start, start)) for start, end in mark["sentences"])
        hit = inside * 2 >= top.end - top.start
        chance = len(mark["sentences"]) / mark["n_sentences"]
        flagged = prediction.probabilities[label] >= thresholds[label]
        counted["flagged" if flagged else "missed"].append((hit, chance))
        if flagged and mark["n_sentences"] >= 6:
            counted["flagged, six sentences or more"].append((hit, chance))
        if not hit:
            print(f"  {mark['id']:12} {label:28} {prediction.post.text[top.start : top.end][:90]!r}")
    rows = []
    for name, hits in counted.items():
        n, n_right = len(hits), sum(hit for hit, _ in hits)
        low, high = wilson(n_right, n)
        chance = sum(c for _, c in hits) / max(1, n)
        rows.append({"labels": name, "n": n, "n_right": n_right, "low": low, "high": high, "chance": chance})
        print(f"{name:32} {n_right:4} of {n:4}  {n_right / max(1, n):6.1%}  [{low:.1%}, {high:.1%}]  by chance {chance:.1%}")
    if arguments.card:
        add_to_card(bundle, "evidence", rows)


if __name__ == "__main__":
    main()
