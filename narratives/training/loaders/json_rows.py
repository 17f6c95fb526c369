"""JSON lines, or one JSON array, of flat records; and which of the annotation programs a JSON file is from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from narratives.errors import RecordError
from narratives.readers.jsonl import iter_objects
from narratives.records import RejectedRecord
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.record import row_of

_KEYS = frozenset({"data", "items", "posts", "records", "results"})


def objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The file's objects with their line or record numbers.

    Raises:
        RecordError: one cannot be read.
    """
    for number, item in iter_objects(path, keys=_KEYS):
        if isinstance(item, RejectedRecord):
            raise RecordError(path, number, None, item.reason)
        yield number, item


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    for number, record in objects(path):
        yield row_of(record, columns, path, number)


def dialect(path: Path) -> str:
    """argilla, label-studio, doccano or jsonl, by the first records."""
    for _, record in itertools.islice(objects(path), 20):
        keys = set(record)
        if isinstance(record.get("fields"), dict) and keys & {"responses", "suggestions", "annotations"}:
            return "argilla"
        if {"data", "annotations"} <= keys or {"annotation_id", "annotator"} <= keys or {"lead_time", "annotator"} <= keys:
            return "label-studio"
        if {"text", "label", "post_id"} <= keys:  # as writers/doccano.py names them
            return "doccano"
        if "Comments" in keys or ("data" in keys and "label" in keys) or {"text", "entities", "relations"} <= keys or _has_spans(record):
            return "doccano"
    return "jsonl"


def _has_spans(record: dict[str, object]) -> bool:
    value = record.get("label")
    return isinstance(value, list) and bool(value) and isinstance(value[0], list) and len(value[0]) == 3
