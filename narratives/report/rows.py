"""The rows of an output of `narratives score`, one at a time, whichever of the three formats it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from narratives.errors import InputError
from narratives.scored import ScoredRow, open_scored

_NEEDED = ("id", "text", "labels", "stance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(ScoredRow):
    """One scored post. `number` counts rows from 0; `probabilities` are those of labels (not of stances), empty where screened;
    `stance_probability` is that of its own stance. An empty name of a channel, source or page is an unknown one."""

    number: int
    stance_probability: float | None
    probabilities: Mapping[str, float]


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a Parquet, JSON lines or CSV output, in order, in constant memory.

    Raises:
        InputError: no such file, not one of our outputs, or it breaks off.
        RecordError: a row holds what no output of ours does.
    """
    file = open_scored(path)
    file.require(_NEEDED)
    labels = file.labels
    number = -1
    for number, row in enumerate(file.rows()):
        yield _row(number, row, labels)
    if number < 0:
        raise InputError(path, "holds no rows")


def _row(number: int, row: ScoredRow, labels: Sequence[str]) -> Row:
    cells: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(row)}
    cells |= {name: cells[name] or None for name in ("id", "channel", "url", "forwarded_from", "language")}
    cells["probabilities"] = {label: known for label in labels if (known := row.probabilities[label]) is not None}
    return Row(number=number, stance_probability=None if row.stance is None else row.probabilities[row.stance], **cells)
