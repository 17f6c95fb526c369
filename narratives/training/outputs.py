"""A list of predictions as one output file, of the same columns as `narratives score` writes, so that the review page reads it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from narratives import plugins
from narratives.errors import ConfigError
from narratives.records import Prediction
from narratives.writers import Writer
from narratives.writers.table import to_batch


def write_predictions(path: Path, predictions: Sequence[Prediction], labels: tuple[str, ...], *, overwrite: bool = False) -> None:
    """Write the file, whole or not at all; its ending chooses the writer.

    Raises:
        ConfigError: the ending is unknown, the folder is absent, or the file exists and may not be replaced.
    """
    name = plugins.by_suffix(plugins.WRITERS, path.suffix)
    if name is None:
        known = ", ".join(s for leaf in plugins.WRITERS.values() for s in leaf.suffixes)
        raise ConfigError(f"output {path.name!r}: unknown ending {path.suffix!r}; known: {known}")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; choose another name or pass --overwrite")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no such folder {str(path.parent)!r}; make it first")
    make = cast(type[Writer], plugins.load("output format", plugins.WRITERS, name))
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        writer = make(Path(scratch), labels)
        for at in range(0, len(predictions), 1024):
            writer.write(to_batch(predictions[at : at + 1024], labels))
        writer.close()
        Path(scratch).chmod(0o644)
        os.replace(scratch, path)
    finally:
        Path(scratch).unlink(missing_ok=True)
