"""Label Studio: tasks with predictions (`out.json`), and beside them the labelling interface that fits (`out.config.xml`).

A task's prediction has the labels, the stance, and each sentence of evidence as a region. Regions of Label Studio count UTF-16
units, as JavaScript does, so a post with an emoji has other offsets there than here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from narratives.records import STANCES, probability_column
from narratives.writers.json_array import JsonArray, metadata


class LabelStudioWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._tasks = JsonArray(path)
        path.with_suffix(".config.xml").write_text(config(labels), encoding="utf-8")

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self._tasks.add(task(row))

    def close(self) -> None:
        self._tasks.close()


def task(row: dict[str, Any]) -> dict[str, object]:
    """One task: the post in `data`, what the model says in `predictions`; none where the encoder did not read the post."""
    data = {"text": row["text"], "id": row["id"], **metadata(row)}
    if row["screened"]:
        return {"data": data, "predictions": []}
    result: list[dict[str, object]] = [
        _choice("labels", row["labels"], min((row[probability_column(i)] for i in row["labels"]), default=None))
    ]
    if row["stance"] is not None:
        result.append(_choice("stance", [row["stance"]], row[probability_column(row["stance"])]))
    for number, item in enumerate(row["evidence"]):
        start, end = (_utf16(row["text"], item[side]) for side in ("start", "end"))
        value = {"start": start, "end": end, "text": item["text"], "labels": [item["label"]]}
        region = {"id": f"e{number}", "type": "labels", "from_name": "evidence", "to_name": "text", "score": item["weight"], "value": value}
        result.append(region)
    if not row["labels"]:
        result = result[1:]
    strongest = max((value for name, value in row.items() if name in {probability_column(i) for i in row["labels"]}), default=None)
    prediction: dict[str, object] = {"model_version": row["model"], "result": result}
    if strongest is not None:
        prediction["score"] = strongest
    return {"data": data, "predictions": [prediction]}


def config(labels: tuple[str, ...]) -> str:
    """The labelling interface: several labels, one stance, and sentences to mark."""

    def options(tag: str, values: tuple[str, ...]) -> str:
        return "\n".join(f"    <{tag} value={quoteattr(value)}/>" for value in values)

    return f"""<View>
  <Text name="text" value="$text"/>
  <Choices name="labels" toName="text" choice="multiple" showInline="true">
{options("Choice", labels)}
  </Choices>
  <Choices name="stance" toName="text" choice="single-radio" showInline="true">
{options("Choice", STANCES)}
  </Choices>
  <Labels name="evidence" toName="text">
{options("Label", labels)}
  </Labels>
</View>
"""


def _choice(name: str, values: list[str], score: float | None) -> dict[str, object]:
    found: dict[str, object] = {"id": name, "type": "choices", "from_name": name, "to_name": "text", "value": {"choices": values}}
    if score is not None:
        found["score"] = score
    return found


def _utf16(text: str, offset: int) -> int:
    return len(text[:offset].encode("utf-16-le")) // 2
