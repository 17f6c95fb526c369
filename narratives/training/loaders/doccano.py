"""doccano's JSONL: `{"id", "text" or "data", "label": [...]}`; sequence labelling gives spans, whose labels count for the whole text.

A label `stance:endorses`, as `writers/doccano.py` writes it, is the stance; `post_id` and `language` are that writer's too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from narratives.errors import RecordError
from narratives.records import STANCES
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.json_rows import objects
from narratives.training.loaders.record import labels_of
from narratives.writers.doccano import STANCE_PREFIX


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    for number, record in objects(path):
        text = record.get(columns.text) if columns.text else record.get("text", record.get("data"))
        if text is None:
            raise RecordError(path, number, "text", f"is missing; found {', '.join(map(repr, list(record)[:10]))}")
        keys = (columns.labels,) if columns.labels else ("label", "labels", "cats", "entities")
        key = next((key for key in keys if key in record), None)
        if key is None:
            raise RecordError(
                path, number, "label", f"is missing; found {', '.join(map(repr, list(record)[:10]))}; expected doccano's export"
            )
        # An empty list is what doccano writes both for "nothing here" and for "not yet read"; the former is what an export is for.
        labels, stance = _apart(labels_of(record[key]), path, number)
        id, language = record.get("post_id", record.get("id")), record.get("language")
        yield Row(
            text,
            labels,
            number,
            id=None if id is None else str(id),
            stance=record.get("stance") if stance is None else stance,
            language=str(language) if language else None,
        )


def _apart(labels: list[object] | None, path: Path, number: int) -> tuple[list[object] | None, str | None]:
    """Labels without those that are a stance, and the stance."""
    if labels is None:
        return None, None
    stances = [label for label in STANCES if f"{STANCE_PREFIX}{label}" in labels]
    if len(stances) > 1:
        raise RecordError(path, number, "label", f"holds {len(stances)} stances: {', '.join(stances)}; expected one at most")
    return [label for label in labels if label not in [f"{STANCE_PREFIX}{s}" for s in stances]], next(iter(stances), None)
