"""An output of `narratives score` opened for review: its labels, thresholds, digest, and its rows as Parquet.

Parquet is read where it stands. JSON lines and CSV are turned into Parquet once, in the user's cache folder, without ever being
in memory whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa

from narratives import taxonomy
from narratives.cache import cached, sha256
from narratives.errors import ConfigError, InputError, NarrativesError, RecordError
from narratives.readers.fields import parse_time
from narratives.records import STANCES, column_names, probability_column
from narratives.scored import ScoredFile, manifest_path, open_scored, read_manifest
from narratives.taxonomy import Label, Taxonomy
from narratives.writers.parquet import ParquetWriter
from narratives.writers.table import schema

_BATCH_ROWS = 2048
_DEFAULT_THRESHOLD = 0.5
MAX_LABELS = 60


@dataclass(frozen=True, slots=True)
class Scored:
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


def open_output(path: str | Path, *, taxonomy_name: str | None = None) -> Scored:
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
    return Scored(path, parquet, digest, _definitions(labels, taxonomy_name), thresholds, known)


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
    path = file.path
    wanted = schema(labels)
    writer = ParquetWriter(target, labels)
    batch: list[dict[str, object]] = []

    def write() -> None:
        try:
            writer.write(pa.RecordBatch.from_pylist(batch, schema=wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise InputError(
                path, f"rows {number - len(batch) + 1} to {number} are no rows of `narratives score`: {error}; score again"
            ) from error
        batch.clear()

    number = 0
    for number, row in enumerate(file.records(), start=1):
        try:
            batch.append(_typed(row, labels))
        except (ValueError, TypeError, AttributeError, NarrativesError) as error:
            raise RecordError(path, number, None, f"is no row of `narratives score`: {error}") from error
        if len(batch) == _BATCH_ROWS:
            write()
    if batch:
        write()
    writer.close()


def _typed(row: Mapping[str, object], labels: tuple[str, ...]) -> dict[str, object]:
    """A row of text cells or JSON values in the types of the columns."""
    typed: dict[str, object] = {name: row.get(name) for name in column_names(labels)}
    typed["text"] = typed["text"] or ""
    if not isinstance(typed["text"], str):
        raise ValueError('field "text" is no text')
    for name in ("published_at", "forwarded_at"):
        if typed[name] is not None:
            typed[name] = parse_time(typed[name])
    for name in ("views", "forwards"):
        typed[name] = None if typed[name] is None else int(str(typed[name]))
    for name in (*labels, *STANCES):
        column = probability_column(name)
        typed[column] = None if typed[column] is None else float(str(typed[column]))
    for name in ("truncated", "screened"):
        typed[name] = typed[name] in (True, "true")
    found = typed["labels"]
    typed["labels"] = [part for part in found.split(";") if part] if isinstance(found, str) else found or []
    evidence = typed["evidence"]
    typed["evidence"] = orjson.loads(evidence) if isinstance(evidence, str) else evidence or []
    return typed
