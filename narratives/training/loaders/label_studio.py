"""Label Studio's JSON and JSON-MIN. Of several annotators' choices those stand that at least half of them made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from narratives.errors import RecordError
from narratives.readers.fields import COLUMNS
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.json_rows import objects
from narratives.training.loaders.record import LABEL_COLUMNS, labels_of, row_of


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    for number, record in objects(path):
        if "annotations" not in record:
            yield _min_row(record, columns, path, number)
            continue
        data = record.get("data")
        if not isinstance(data, Mapping):
            raise RecordError(path, number, "data", f"holds {type(data).__name__}, expected the task's fields")
        text = data.get(columns.text) if columns.text else next((data[k] for k in COLUMNS["text"] if k in data), None)
        if text is None:
            raise RecordError(path, number, "data", f"has no text; found {', '.join(map(repr, list(data)[:10]))}. Pass --text-column.")
        labels, stance = _choices(record["annotations"], columns)
        group = data.get("group")
        language = data.get("language", data.get("lang"))
        yield Row(
            text,
            labels,
            number,
            id=str(data.get("id", record.get("id", number))),
            stance=stance,
            group=str(group) if group else None,
            language=str(language) if language else None,
        )


def _min_row(record: dict[str, object], columns: Columns, path: Path, number: int) -> Row:
    """JSON-MIN: a choice taken alone is a string, several are {"choices": […]}; a task that nobody read has neither."""
    if columns.labels is None and not any(name.lower() in LABEL_COLUMNS for name in record):
        if record.get("annotation_id") is not None:
            return row_of({**record, "labels": []}, columns, path, number)
        return Row(record.get("text"), None, number)
    row = row_of(record, columns, path, number)
    stance = labels_of(row.stance)
    return Row(row.text, row.labels, number, row.id, stance[0] if stance else None, row.group, row.language)


def _choices(annotations: object, columns: Columns) -> tuple[list[object] | None, object]:
    done = [a for a in annotations if isinstance(a, Mapping) and not a.get("was_cancelled")] if isinstance(annotations, list) else []
    if not done:
        return None, None
    labels: Counter[str] = Counter()
    stances: Counter[str] = Counter()
    for annotation in done:
        mine: set[str] = set()
        for result in annotation.get("result") or []:
            value, name = result.get("value") or {}, result.get("from_name")
            chosen = value.get("choices") or value.get("labels") or [c for path in value.get("taxonomy") or [] for c in path[-1:]]
            if name == "stance":
                stances.update(chosen[:1])
            elif columns.labels is None or name == columns.labels:
                mine.update(chosen)
        labels.update(mine)
    kept: list[object] = [label for label, n in labels.items() if 2 * n >= len(done)]
    return kept, stances.most_common(1)[0][0] if stances else None
