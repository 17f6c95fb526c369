"""The Arrow schema of an output: the types of the columns that `records.column_names` lists."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from narratives.records import STANCES, Prediction, column_names, probability_column, to_row

EVIDENCE = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("weight", pa.float32()),
            ("text", pa.string()),
        ]
    )
)
_TYPES: dict[str, pa.DataType] = {
    "published_at": pa.timestamp("us", tz="UTC"),
    "forwarded_at": pa.timestamp("us", tz="UTC"),
    "views": pa.int64(),
    "forwards": pa.int64(),
    "labels": pa.list_(pa.string()),
    "evidence": EVIDENCE,
    "truncated": pa.bool_(),
    "screened": pa.bool_(),
}


def schema(labels: Sequence[str]) -> pa.Schema:
    """Schema of an output of a model with these labels."""
    probabilities = {probability_column(name) for name in (*labels, *STANCES)}
    return pa.schema([(name, pa.float32() if name in probabilities else _TYPES.get(name, pa.string())) for name in column_names(labels)])


def to_batch(predictions: Sequence[Prediction], labels: Sequence[str]) -> pa.RecordBatch:
    """Predictions as one record batch."""
    return pa.RecordBatch.from_pylist([to_row(p, labels) for p in predictions], schema=schema(labels))
