"""doccano: JSON lines of `text` and `label` for a project of document classification with several labels.

doccano knows no suggestions: what is imported becomes the importing user's own annotation. The stance is a label too
(`stance:endorses`), because such a project has one set of labels. All other fields are kept by doccano as the document's metadata.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa

from narratives.writers.json_array import metadata

STANCE_PREFIX = "stance:"


class DoccanoWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._stream = path.open("wb")

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            label = [*row["labels"], *([f"{STANCE_PREFIX}{row['stance']}"] if row["stance"] else [])]
            item = {"text": row["text"], "label": label, "post_id": row["id"], **metadata(row), "model": row["model"]}
            self._stream.write(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))

    def close(self) -> None:
        self._stream.close()
