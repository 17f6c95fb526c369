"""doccano's JSONL: `{"id", "text" or "data", "label": [...]}`; sequence labelling gives spans, whose labels count for the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from narratives.errors import RecordError
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.json_rows import objects
from narratives.training.loaders.record import labels_of


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
        yield Row(text, labels_of(record[key]), number, id=str(record["id"]) if "id" in record else None, stance=record.get("stance"))
