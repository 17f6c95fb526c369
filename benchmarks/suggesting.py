"""Posts that `narratives suggest` chooses to annotate against posts drawn at random: what a model learns from as many of either.

    python benchmarks/suggesting.py --data ../shared/data
    python benchmarks/suggesting.py --data ../shared/data --task rare-topics --sizes 40 80

UNLP 2025's techniques in Russian Telegram posts (split as in `retraining.py`): training posts play the dump, their labels the annotator.
Round 1 chooses by the labels' definitions alone, each later one with a model trained on what was annotated so far. Random choice has as
many posts and trains the same way; both are repeated with five seeds. Measured on the test posts: macro-F1 and mean average precision
(which needs no thresholds), the mean over seeds, and the difference with an interval from a bootstrap over test posts and seeds together.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
import retraining

from narratives.config import TrainConfig
from narratives.records import Post
from narratives.training.corpus import label_targets
from narratives.training.features import base_bundle
from narratives.training.heads import describe
from narratives.training.metrics import average_precision, confusion, f1_score
from narratives.training.newlabels import Fitted, fit_labels
from narratives.training.suggest import choose

Array = npt.NDArray[np.float32]


RARE = ("entertainment", "geography", "health")


def rare_topics(data: Path) -> retraining.Task:
    """SIB-200 in both languages as a dump: of three topics every tenth sentence is kept, so that they are rare, as labels are."""
    whole = retraining.topics(data, None, 0, only_russian=False)
    kept = [p for p in whole.train if not set(p.labels or ()) & set(RARE) or int(retraining.order(p.group or "", 0), 16) % 10 == 0]
    taxonomy = dataclasses.replace(whole.taxonomy, single_label=False)
    return dataclasses.replace(whole, train=kept, taxonomy=taxonomy, single=False)


def fitted_to(posts: list[Post], task: retraining.Task, pool: retraining.Pool, seed: int) -> Fitted:
    with tempfile.TemporaryDirectory() as scratch:
        return fit_labels(posts, task.taxonomy, base_bundle(), config=TrainConfig(seed=seed), scratch=Path(scratch), pool=pool)


def said(fitted: Fitted, posts: list[Post], pool: retraining.Pool) -> Array:
    return fitted.calibration.probabilities(fitted.logits(retraining.read(posts), pool))


def annotate(
    task: retraining.Task, pool: retraining.Pool, sizes: list[int], seed: int, *, at_random: bool
) -> list[tuple[Array, npt.NDArray[np.bool_]]]:
    """Probabilities and decisions on the test posts after each round."""
    rng = np.random.default_rng(seed)
    left, chosen, found = list(range(len(task.train))), [], []
    # Each seed has another dump: nine tenths of the posts.
    left = sorted(rng.choice(left, size=int(0.9 * len(left)), replace=False).tolist())
    described, fitted = describe(task.taxonomy, pool), None
    for size in sizes:
        n = size - len(chosen)
        if at_random:
            picked = rng.choice(left, size=n, replace=False).tolist()
        else:
            rest, have = [task.train[i] for i in left], [task.train[i] for i in chosen]
            suggestions = choose(
                rest,
                task.taxonomy,
                n,
                features=pool(retraining.read(rest)),
                described=described,
                probabilities=said(fitted, rest, pool) if fitted else None,
                thresholds=np.array(fitted.calibration.thresholds, dtype=np.float32) if fitted else None,
                annotated=have,
                annotated_features=pool(retraining.read(have)) if have else None,
                seed=seed,
            )
            picked = [left[s.row] for s in suggestions]
        chosen += picked
        left = [i for i in left if i not in set(picked)]
        fitted = fitted_to([task.train[i] for i in chosen], task, pool, seed)
        probabilities = said(fitted, task.test, pool)
        found.append((probabilities, probabilities >= np.array(fitted.calibration.thresholds)))
    return found


def scores(
    targets: npt.NDArray[np.bool_], answers: list[tuple[Array, npt.NDArray[np.bool_]]], rows: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Mean over seeds of macro-F1 and of mean average precision, on these rows of the test posts."""
    truth = targets[rows]
    f1 = [float(np.nanmean(f1_score(*confusion(truth, d[rows]).sum(axis=1).astype(np.float64)))) for _, d in answers]
    with_any = [i for i in range(truth.shape[1]) if truth[:, i].any()]
    ap = [float(np.mean([average_precision(truth[:, i], p[rows, i]) for i in with_any])) for p, _ in answers]
    return float(np.mean(f1)), float(np.mean(ap))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, default=Path("out/retraining"))
    parser.add_argument("--task", choices=["techniques", "rare-topics"], default="techniques")
    parser.add_argument("--sizes", type=int, nargs="*", default=[60, 120, 200])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    rare = arguments.task == "rare-topics"
    task = rare_topics(arguments.data) if rare else retraining.techniques(arguments.data)
    known = retraining.features(arguments.data, arguments.keep, topics=rare)
    runs = {
        way: [annotate(task, known.pool, arguments.sizes, seed, at_random=way == "random") for seed in range(arguments.seeds)]
        for way in ("suggest", "random")
    }
    targets, rng = label_targets(task.test, task.taxonomy), np.random.default_rng(0)
    print("| annotated | suggest: macro-F1, average precision | random | macro-F1, suggest ahead by | average precision, ahead by |")
    print("|---|---|---|---|---|")
    for i, size in enumerate(arguments.sizes):
        mine, theirs = ([run[i] for run in runs[way]] for way in ("suggest", "random"))
        everything = np.arange(len(targets))
        a, b = scores(targets, mine, everything), scores(targets, theirs, everything)
        draws = []
        for _ in range(300):
            rows, seeds = rng.integers(len(targets), size=len(targets)), rng.integers(arguments.seeds, size=arguments.seeds)
            one, two = (scores(targets, [w[s] for s in seeds], rows) for w in (mine, theirs))
            draws.append((one[0] - two[0], one[1] - two[1]))
        low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
        ahead = [f"{a[k] - b[k]:+.3f} [{low[k]:+.3f}, {high[k]:+.3f}]" for k in (0, 1)]
        print(f"| {size} | {a[0]:.3f}, {a[1]:.3f} | {b[0]:.3f}, {b[1]:.3f} | {ahead[0]} | {ahead[1]} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
