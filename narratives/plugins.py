"""Tables of leaves: readers, loaders, writers and backends by name and suffix. A leaf is imported when it is asked for.

To add a format: one file and one line here. A contract test runs the same facts over every entry and fails for a file
of `readers/`, `training/loaders/`, `writers/` or `backends/` that lacks its line. A reader of a JSON dialect also has its marks in
`readers/sniff.py`; an output that review and report read again, its line in `scored._FORMATS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from narratives.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Leaf:
    """`target` is "module:attribute"; `suffixes` are lower-case file endings that point to it, most usual first."""

    target: str
    about: str
    suffixes: tuple[str, ...] = ()


def _table(entries: dict[str, Leaf]) -> Mapping[str, Leaf]:
    return MappingProxyType(entries)


READERS = _table(
    {
        "telegram_desktop": Leaf("narratives.readers.telegram_desktop:read", "Telegram Desktop export, result.json"),
        "telethon": Leaf("narratives.readers.telethon:read", "Telethon to_json or 4CAT NDJSON"),
        "vk": Leaf("narratives.readers.vk:read", "VK wall.get JSON"),
        "csv": Leaf("narratives.readers.delimited:read", "CSV or TSV, 4CAT's CSV too", (".csv", ".tsv", ".tab")),
        "jsonl": Leaf("narratives.readers.jsonl:read", "JSON lines or a JSON array", (".jsonl", ".ndjson", ".json")),
        "parquet": Leaf("narratives.readers.parquet:read", "Parquet", (".parquet", ".pq")),
    }
)

LOADERS = _table(
    {
        "jsonl": Leaf(
            "narratives.training.loaders.json_rows:rows", "JSON lines or a JSON array of flat records", (".jsonl", ".ndjson", ".json")
        ),
        "csv": Leaf("narratives.training.loaders.delimited_rows:rows", "CSV or TSV", (".csv", ".tsv", ".tab")),
        "parquet": Leaf("narratives.training.loaders.parquet_rows:rows", "Parquet", (".parquet", ".pq")),
        "datasets": Leaf(
            "narratives.training.loaders.hub_datasets:rows", "a folder written by datasets' save_to_disk, or an id of a dataset hub"
        ),
        "doccano": Leaf(
            "narratives.training.loaders.doccano:rows",
            "doccano's JSONL export: categories, or spans, whose labels then count for the whole text",
        ),
        "label-studio": Leaf("narratives.training.loaders.label_studio:rows", "Label Studio's JSON or JSON-MIN export"),
        "argilla": Leaf("narratives.training.loaders.argilla:rows", "Argilla's records as JSON (to_json, to_dict or to_list)"),
    }
)
"""Where annotated posts come from: a reader gives posts, a loader posts with labels somebody gave them."""

WRITERS = _table(
    {
        "parquet": Leaf("narratives.writers.parquet:ParquetWriter", "Parquet", (".parquet", ".pq")),
        "jsonl": Leaf("narratives.writers.jsonl:JsonlWriter", "JSON lines", (".jsonl", ".ndjson")),
        "csv": Leaf("narratives.writers.delimited:CsvWriter", "CSV that a spreadsheet opens safely", (".csv",)),
        "xlsx": Leaf("narratives.writers.xlsx:XlsxWriter", "XLSX with filters and coloured probabilities", (".xlsx",)),
    }
)

EXPORTS = _table(
    {
        "label-studio": Leaf("narratives.writers.label_studio:LabelStudioWriter", "Label Studio tasks with predictions, and its interface"),
        "argilla": Leaf("narratives.writers.argilla:ArgillaWriter", "Argilla records with suggestions, and a dataset's settings"),
        "doccano": Leaf("narratives.writers.doccano:DoccanoWriter", "doccano JSON lines"),
        "stix": Leaf("narratives.writers.stix:StixWriter", "STIX 2.1 bundle with DISARM techniques"),
    }
)
"""What `convert` writes beside the tables: made for one program each, with what that program has a place for."""

BACKENDS = _table(
    {
        "openvino": Leaf("narratives.backends.openvino:load", "fast CPU inference: int8 products, bfloat16 where the CPU has it"),
        "onnx": Leaf("narratives.backends.onnx:load", "portable float inference, onnxruntime"),
        "torch": Leaf("narratives.backends.torch:load", "the reference, float32; cuda where there is one"),
        "linear": Leaf("narratives.backends.linear:load", "TF-IDF and logistic regression: the baseline"),
    }
)


def load(kind: str, table: Mapping[str, Leaf], name: str) -> Any:
    """Import the leaf of that name, as `known_name` finds it.

    Raises:
        UnknownName: the table has no such name.
    """
    module, attribute = table[known_name(kind, table, name)].target.split(":")
    return getattr(importlib.import_module(module), attribute)


def known_name(kind: str, table: Mapping[str, Leaf], name: str) -> str:
    """The name as the table spells it; - and _ are taken for each other.

    Raises:
        UnknownName: the table has no such name.
    """
    found = next((known for known in table if known.replace("-", "_") == name.replace("-", "_")), None)
    if found is None:
        raise UnknownName(kind, name, table)
    return found


def by_suffix(table: Mapping[str, Leaf], suffix: str) -> str | None:
    """The first name whose leaf claims this file ending, if any."""
    return next((name for name, leaf in table.items() if suffix.lower() in leaf.suffixes), None)
