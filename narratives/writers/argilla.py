"""Argilla: records (`out.json`, for `dataset.records.from_json`) and the settings of a dataset that takes them (`out.settings.json`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from narratives.records import STANCES, probability_column
from narratives.writers.json_array import JsonArray, metadata

_METADATA = ("channel", "published_at", "url", "views", "forwards", "language")


class ArgillaWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._records = JsonArray(path)
        path.with_suffix(".settings.json").write_bytes(orjson.dumps(settings(labels), option=orjson.OPT_INDENT_2))

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self._records.add(record(row))

    def close(self) -> None:
        self._records.close()


def record(row: dict[str, Any]) -> dict[str, object]:
    """One record; what the model says are suggestions, which a person confirms or changes."""
    suggestions: dict[str, object] = {}
    if row["labels"]:
        scores = [row[probability_column(label)] for label in row["labels"]]
        suggestions["labels"] = {"value": row["labels"], "score": scores, "agent": row["model"]}
    if row["stance"] is not None:
        suggestions["stance"] = {"value": row["stance"], "score": row[probability_column(row["stance"])], "agent": row["model"]}
    return {"id": row["id"], "fields": {"text": row["text"]}, "metadata": metadata(row, _METADATA), "suggestions": suggestions}


def settings(labels: tuple[str, ...]) -> dict[str, object]:
    """Of a dataset for these labels, as `argilla.Settings.from_json` reads them."""

    def question(name: str, kind: str, title: str, values: tuple[str, ...]) -> dict[str, object]:
        options = [{"value": value, "text": value, "description": None} for value in values]
        return {
            "name": name, "title": title, "description": None, "required": False,
            "settings": {"type": kind, "options": options, "visible_options": max(3, len(options)) if len(options) >= 3 else None},
        }  # fmt: skip

    return {
        "guidelines": "Every narrative the post carries, or none. The stance is the author's towards what the post carries.",
        "allow_extra_metadata": True,
        "fields": [
            {"name": "text", "title": "Post", "required": True, "description": None, "settings": {"type": "text", "use_markdown": False}}
        ],
        "questions": [
            question("labels", "multi_label_selection", "Narratives", labels),
            question("stance", "label_selection", "Stance", STANCES),
        ],
        "metadata": [],
        "vectors": [],
    }
