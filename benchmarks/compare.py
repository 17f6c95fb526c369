"""Two bundles on the same annotated posts: macro-F1 of each, and the paired difference with its 95% interval.

    python benchmarks/compare.py models/kazakhstan-e5-small out/linear

Both must have been trained on the same corpus: the test part depends on nothing but the groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from narratives import ScoreConfig, Scorer
from narratives.records import STANCES, Post
from narratives.training.corpus import NO_STANCE, group_of, label_targets, read_corpus, split_corpus, stance_targets
from narratives.training.metrics import macro_f1, macro_f1_difference, stance_one_hot


def decisions(scorer: Scorer, posts: list[Post]) -> tuple[np.ndarray, np.ndarray]:
    predictions = scorer.predict(posts)
    labels = np.array([[label in p.labels for label in scorer.labels] for p in predictions])
    stances = np.array([int(np.argmax([p.stance_probabilities[s] for s in STANCES])) for p in predictions])
    return labels, stances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--part", default="test", choices=["test", "validation"])
    arguments = parser.parse_args()
    scorers = [Scorer.from_pretrained(path, config=ScoreConfig(evidence=False)) for path in (arguments.ours, arguments.theirs)]
    config = scorers[0].bundle.train_config
    corpus = read_corpus(arguments.data, scorers[0].taxonomy)
    posts = split_corpus(corpus, scorers[0].taxonomy, validation_share=config.validation_share, seed=config.seed).part(arguments.part)
    found = [decisions(scorer, posts) for scorer in scorers]
    targets, stances = label_targets(posts, scorers[0].taxonomy), stance_targets(posts)
    languages = np.array([p.language for p in posts])
    groups = np.array([group_of(p) for p in posts])
    print(f"{len(posts)} posts ({arguments.part}), {len(set(groups))} events")
    print(f"{'':10} {'':7} {arguments.ours.name:24} {arguments.theirs.name:24} difference")
    for name in ("all", *sorted(set(languages.tolist()))):
        here = np.ones(len(posts), dtype=bool) if name == "all" else languages == name
        stanced = here & (stances != NO_STANCE)
        for what, truth, pair, mask in (
            ("labels", targets, [f[0] for f in found], here),
            ("stance", stance_one_hot(stances), [stance_one_hot(f[1]) for f in found], stanced),
        ):
            if not truth[mask].any():
                continue
            members = groups[mask].tolist()
            a, b = (macro_f1(truth[mask], p[mask], members) for p in pair)
            print(f"{name:10} {what:7} {a!s:24} {b!s:24} {macro_f1_difference(truth[mask], pair[0][mask], pair[1][mask], members)}")


if __name__ == "__main__":
    main()
