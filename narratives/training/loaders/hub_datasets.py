"""Hugging Face `datasets`: a folder written by `save_to_disk`, or the id of a dataset where a hub is reachable. Its parts stay parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from narratives.errors import InputError, MissingDependency
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.record import LABEL_COLUMNS, row_of


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("datasets", "train") from error
    try:
        # An id is looked up only where there is no such folder. Data alone is read: no dataset's own code is run.
        loaded: Any = datasets.load_from_disk(str(path)) if path.is_dir() else datasets.load_dataset(str(path))
    except Exception as error:  # the package raises what its file systems and formats raise
        what = "is no folder written by datasets' save_to_disk" if path.is_dir() else "is no file, and as a dataset's id cannot be loaded"
        raise InputError(path, f"{what}: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}") from error
    parts: Mapping[str | None, Any] = loaded if isinstance(loaded, dict) else {None: loaded}
    for part, dataset in parts.items():
        names = _label_names(dataset, columns)
        for number, record in enumerate(dataset, start=1):
            for column, known in names.items():
                value = record[column]
                one = value if isinstance(value, list) else [value]
                # -1 stands for "no label" in datasets' own sets.
                record[column] = None if value is None else [known[i] for i in one if isinstance(i, int) and 0 <= i < len(known)]
            yield row_of(record, columns, path, number, part=part)


def _label_names(dataset: Any, columns: Columns) -> dict[str, list[str]]:
    """Columns whose values are numbers of named classes -> the names."""
    found = {}
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if hasattr(inner, "names") and (name == columns.labels or name.lower() in LABEL_COLUMNS):
            found[name] = list(inner.names)
    return found
