"""An output of `narratives score` opened for review: its labels, thresholds, digest, and its rows as Parquet.

Parquet is read where it stands. JSON lines and CSV are turned into Parquet once, in the user's cache folder, without ever being
in memory whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from narratives import taxonomy
from narratives.cache import cached, sha256
from narratives.errors import ConfigError, InputError
from narratives.scored import ScoredFile, manifest_path, open_scored, read_manifest
from narratives.taxonomy import Label, Taxonomy
from narratives.writers.parquet import ParquetWriter
from narratives.writers.table import schema

_BATCH_ROWS = 2048
_DEFAULT_THRESHOLD = 0.5
MAX_LABELS = 60


@dataclass(frozen=True, slots=True)
class OpenedOutput:
    """An output that can be reviewed. `parquet` is the file itself, or its copy in the cache; `digest` is the sha256 of `path`.

    `thresholds` are in label order; `thresholds_known` is False where no manifest stood beside the output and 0.5 stands in.
    """

    path: Path
    parquet: Path
    digest: str
    labels: tuple[Label, ...]
    thresholds: tuple[float, ...]
    thresholds_known: bool

    @property
    def label_ids(self) -> tuple[str, ...]:
        return tuple(label.id for label in self.labels)

    @property
    def decisions_path(self) -> Path:
        """Where decisions on it are kept unless said otherwise."""
        return self.path.with_name(f"{self.path.stem}.decisions.sqlite")


def open_output(path: str | Path, *, taxonomy_name: str | None = None) -> OpenedOutput:
    """Open what `narratives score` wrote.

    Args:
        path: .parquet, .jsonl or .csv.
        taxonomy_name: where labels are defined: a shipped name or a TOML file. Without it, `kazakhstan` for those it has;
            another label then shows its id alone.

    Raises:
        InputError: no such file, or not an output of `narratives score`.
        ConfigError: too many labels.
    """
    path = Path(path)
    file = open_scored(path)
    labels = file.require_all()
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{path}: has {len(labels)} labels, the review page takes up to {MAX_LABELS}")
    thresholds, known = _thresholds(path, labels)
    digest = sha256(path)
    parquet = (
        path if file.format == "parquet" else cached(f"review/{digest[:32]}", "rows.parquet", lambda target: _convert(file, target, labels))
    )
    return OpenedOutput(path, parquet, digest, _definitions(labels, taxonomy_name), thresholds, known)


def _thresholds(path: Path, labels: tuple[str, ...]) -> tuple[tuple[float, ...], bool]:
    manifest = read_manifest(path)
    if manifest is None:
        return (_DEFAULT_THRESHOLD,) * len(labels), False
    try:
        found = manifest["thresholds"]
        return tuple(min(0.9999, max(0.0001, float(found[label]))) for label in labels), True
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            manifest_path(path), f"has no threshold for each label ({error}); score again, or remove it to review without"
        ) from error


def _definitions(labels: tuple[str, ...], name: str | None) -> tuple[Label, ...]:
    known: Taxonomy = taxonomy.load(name or "kazakhstan")
    if name is not None:
        known.select(labels)
    return tuple(known[i] if i in known.ids else Label(i, {"en": i}, {}, {}) for i in labels)


# ---- JSON lines and CSV, once, to Parquet -----------------------------------------------------------------------------


def _convert(file: ScoredFile, target: Path, labels: tuple[str, ...]) -> None:
    wanted = schema(labels)
    writer = ParquetWriter(target, labels)
    rows, n_rows = file.rows(), 0
    while batch := [row.columns() for row in islice(rows, _BATCH_ROWS)]:
        n_rows += len(batch)
        try:
            writer.write(pa.RecordBatch.from_pylist(batch, schema=wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise InputError(
                file.path, f"rows {n_rows - len(batch) + 1} to {n_rows} are no rows of `narratives score`: {error}; score again"
            ) from error
    writer.close()
