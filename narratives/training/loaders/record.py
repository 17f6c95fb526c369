"""From a flat record to a row: which column holds the text, which the labels, and the many ways in which labels are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from narratives.errors import RecordError
from narratives.readers.fields import COLUMNS
from narratives.training.loaders import Columns, Row, part_of

LABEL_COLUMNS = ("labels", "label", "categories", "category", "techniques", "tags", "class", "classes", "target", "topic")
"""Names under which labels are found, the surest first."""


def row_of(record: Mapping[str, object], columns: Columns, path: Path, line: int, *, part: str | None = None) -> Row:
    """A row of a flat record.

    Raises:
        RecordError: there is no column for the text, or none for the labels; says what was found.
    """
    by_name = {name.strip().lower(): name for name in record if isinstance(name, str)}

    def find(asked: str | None, usual: Sequence[str], what: str, option: str) -> str | None:
        if asked is not None:
            if asked not in record:
                raise RecordError(path, line, what, f"is in no column {asked!r}; found {_shown(record)}. Pass {option} with one of them.")
            return asked
        return next((by_name[name] for name in usual if name in by_name), None)

    text = find(columns.text, COLUMNS["text"], "text", "--text-column")
    labels = find(columns.labels, LABEL_COLUMNS, "labels", "--label-column")
    if text is None:
        raise RecordError(path, line, "text", f"is missing; found {_shown(record)}. Rename it or pass --text-column.")
    if labels is None:
        raise RecordError(
            path, line, "labels", f"is missing; found {_shown(record)}. Expected label ids, [] for none; rename it or pass --label-column."
        )

    def other(field: str) -> str | None:
        names = [by_name[name] for name in COLUMNS[field] if name in by_name]
        values = (record[name] for name in names if not is_empty(record[name]))
        return next((str(value) for value in values), None)

    part_column = part_of(by_name.values())
    return Row(
        text=record[text],
        labels=labels_of(record[labels]),
        line=line,
        id=other("id"),
        stance=record[by_name["stance"]] if "stance" in by_name else None,
        group=other("group"),
        language=other("language"),
        part=part or (str(record[part_column]) if part_column else None),
    )


def labels_of(value: object) -> list[object] | None:
    """Labels as they were written: a list, one label, names with | ; or , between, JSON in a string, or {name: 0 or 1}.

    A list of spans ([start, end, label], or {"label": …}) gives the spans' labels. None, and an absent number, are no annotation; an
    empty list or string is one: nothing was found.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in {"[", "{"}:
            try:
                return labels_of(json.loads(text))
            except (ValueError, RecursionError):
                pass
        if "|" in text or ";" in text:
            return [part for part in re.split(r"[|;]", text) if part.strip()]
        return [part for part in text.split(",") if part.strip()]
    if isinstance(value, Mapping):
        if "choices" in value:
            return labels_of(value["choices"])
        return [name for name, says in value.items() if says in (1, True, "1", "true", "True")]
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        items = value.tolist() if hasattr(value, "tolist") else value
        return [_label_of(item) for item in items] if isinstance(items, Sequence) else [items]
    return [value]


def _label_of(item: object) -> object:
    if isinstance(item, Mapping):
        return next((item[key] for key in ("label", "name", "value", "text") if key in item), str(item))
    if isinstance(item, list | tuple) and len(item) == 3:
        return item[2]
    return item


def is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def _shown(record: Mapping[str, object]) -> str:
    return ", ".join(f'"{str(name)[:40]}"' for name in list(record)[:10])
