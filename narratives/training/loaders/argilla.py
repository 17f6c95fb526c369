"""Argilla's records as JSON, versions 1 (`responses` a list with `values`) and 2 (`responses` by question). Suggestions are not
annotations: a record without a submitted response counts as not annotated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from narratives.errors import RecordError
from narratives.readers.fields import COLUMNS
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.json_rows import objects
from narratives.training.loaders.record import LABEL_COLUMNS, labels_of


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    for number, record in objects(path):
        fields = record.get("fields")
        if not isinstance(fields, Mapping):
            raise RecordError(path, number, "fields", "is missing; expected Argilla's records as JSON")
        text = fields.get(columns.text) if columns.text else next((fields[k] for k in COLUMNS["text"] if k in fields), None)
        if text is None:
            raise RecordError(path, number, "fields", f"has no text; found {', '.join(map(repr, list(fields)[:10]))}. Pass --text-column.")
        answers = list(_answers(record.get("responses")))
        metadata = record.get("metadata")
        more = metadata if isinstance(metadata, Mapping) else {}
        group, language = more.get("group"), more.get("language", more.get("lang"))
        yield Row(
            text,
            _labels(answers, columns),
            number,
            id=str(record.get("id", number)),
            stance=next((v for q, v in answers if q == "stance"), None),
            group=str(group) if group else None,
            language=str(language) if language else None,
        )


def _answers(responses: object) -> Iterator[tuple[str, object]]:
    """Pairs of question and submitted value, one for each annotator."""
    if isinstance(responses, Mapping):
        for question, given in responses.items():
            for one in given if isinstance(given, list) else [given]:
                if isinstance(one, Mapping) and one.get("status", "submitted") == "submitted":
                    yield str(question), one.get("value")
    elif isinstance(responses, list):
        for one in responses:
            if not isinstance(one, Mapping) or one.get("status", "submitted") != "submitted":
                continue
            for question, given in (one.get("values") or {}).items():
                yield str(question), given.get("value") if isinstance(given, Mapping) else given


def _labels(answers: list[tuple[str, object]], columns: Columns) -> list[object] | None:
    wanted = {columns.labels} if columns.labels else set(LABEL_COLUMNS)
    given = [labels_of(value) or [] for question, value in answers if question in wanted]
    if not given:
        return None
    counts = Counter(str(label) for labels in given for label in set(map(str, labels)))
    return [label for label, n in counts.items() if 2 * n >= len(given)]
