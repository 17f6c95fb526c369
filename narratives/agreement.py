"""How far readers of the same posts agree: Krippendorff's alpha for each label and for the stance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from narratives.errors import RecordError
from narratives.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of posts read twice: how many, how many with the same labels and stance, and alpha (None where no reader used the value)."""

    n_posts: int
    n_same: int
    labels: dict[str, float | None]
    stance: float | None
    """Over posts to which both readers gave a label."""


def krippendorff_alpha(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Alpha of two complete nominal readings (Krippendorff 2011): 1 is perfect, 0 is chance; None where all values are one.

    Raises:
        ValueError: the two differ in length.
    """
    return alpha_of_units(zip(first, second, strict=True))


def alpha_of_units(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Nominal alpha of any number of readers, not all of whom read every unit (Krippendorff 2011, section C).

    Args:
        units: for each post the values its readers gave; one that fewer than two read says nothing and is left out.

    Returns:
        1 is perfect, 0 is chance; None where all values are one, or nothing was read twice.
    """
    counts: Counter[Hashable] = Counter()
    disagreeing = 0.0
    for values in units:
        if len(values) < 2:
            continue
        own = Counter(values)
        counts += own
        disagreeing += sum(count * (len(values) - count) for count in own.values()) / (len(values) - 1)
    n = sum(counts.values())
    if len(counts) < 2:
        return None
    expected = 1 - sum(count * (count - 1) for count in counts.values()) / (n * (n - 1))
    return 1 - disagreeing / n / expected


def read_agreement(path: str | Path, taxonomy: Taxonomy) -> Agreement:
    """Measure a file of second readings: one object a line, `{"id", "first": {"labels", "stance"}, "second": {...}}`.

    Raises:
        RecordError: a line is not such an object.
    """
    path = Path(path)
    readings: list[tuple[frozenset[str], str | None, frozenset[str], str | None]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            one, two = row["first"], row["second"]
            readings.append((frozenset(one["labels"]), one["stance"], frozenset(two["labels"]), two["stance"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(
                path, number, "reading", f"is not readable ({error}); expected first and second, each with labels and stance"
            ) from error
    labelled = [reading for reading in readings if reading[0] and reading[2]]
    return Agreement(
        n_posts=len(readings),
        n_same=sum(a == c and b == d for a, b, c, d in readings),
        labels={i: krippendorff_alpha([i in r[0] for r in readings], [i in r[2] for r in readings]) for i in taxonomy.ids},
        stance=krippendorff_alpha([r[1] for r in labelled], [r[3] for r in labelled]) if labelled else None,
    )
