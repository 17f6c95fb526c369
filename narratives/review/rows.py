"""An output of `narratives score` opened for review: its labels, thresholds, digest, and its rows as Parquet.

Parquet is read where it stands. JSON lines and CSV are turned into Parquet once, in the user's cache folder, without ever being
in memory whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from narratives import plugins, taxonomy
from narratives.cache import cached, sha256
from narratives.errors import ConfigError, InputError, NarrativesError, RecordError
from narratives.readers.fields import parse_time
from narratives.records import STANCES, column_names, labels_of, probability_column
from narratives.taxonomy import Label, Taxonomy
from narratives.writers.delimited import plain_cell
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
        ConfigError: an ending that is none of these, or too many labels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "is a folder; give the output of `narratives score`" if path.is_dir() else "no such file")
    kind = plugins.by_suffix(plugins.WRITERS, path.suffix)
    columns = _COLUMNS.get(kind or "")
    if columns is None:
        raise ConfigError(
            f"{path.name}: unknown ending {path.suffix!r}; expected an output of `narratives score`: .parquet, .jsonl or .csv"
        )
    names = columns(path)
    labels = labels_of(names, path)
    missing = [name for name in column_names(labels) if name not in names]
    if missing or not labels:
        found = ", ".join(names[:8]) or "nothing"
        raise InputError(
            path, f"has no column {', '.join(missing[:4]) or 'p_<label>'}; found {found}. Give the output of `narratives score`."
        )
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{path}: has {len(labels)} labels, the review page takes up to {MAX_LABELS}")
    thresholds, known = _thresholds(path, labels)
    digest = sha256(path)
    parquet = path if kind == "parquet" else cached(f"review/{digest[:32]}", "rows.parquet", lambda target: _convert(path, target, labels))
    return Scored(path, parquet, digest, _definitions(labels, taxonomy_name), thresholds, known)


def _parquet_columns(path: Path) -> tuple[str, ...]:
    try:
        with pq.ParquetFile(path) as file:
            return tuple(file.schema_arrow.names)
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise InputError(path, f"is no readable Parquet file: {error}") from error


def _jsonl_columns(path: Path) -> tuple[str, ...]:
    with path.open("rb") as stream:
        line = stream.readline()
    try:
        return tuple(orjson.loads(line))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InputError(path, "line 1 is no JSON object; give the output of `narratives score`") from error


def _csv_columns(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return tuple(next(csv.reader(stream), ()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"is no readable CSV: {error}") from error


_COLUMNS: Mapping[str, Callable[[Path], tuple[str, ...]]] = {
    "parquet": _parquet_columns,
    "jsonl": _jsonl_columns,
    "csv": _csv_columns,
}


def _thresholds(path: Path, labels: tuple[str, ...]) -> tuple[tuple[float, ...], bool]:
    manifest = path.with_name(f"{path.stem}.manifest.json")
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))["thresholds"]
        return tuple(min(0.9999, max(0.0001, float(found[label]))) for label in labels), True
    except FileNotFoundError:
        return (_DEFAULT_THRESHOLD,) * len(labels), False
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(manifest, f"has no threshold for each label ({error}); score again, or remove it to review without") from error


def _definitions(labels: tuple[str, ...], name: str | None) -> tuple[Label, ...]:
    known: Taxonomy = taxonomy.load(name or "kazakhstan")
    if name is not None:
        known.select(labels)
    return tuple(known[i] if i in known.ids else Label(i, {"en": i}, {}, {}) for i in labels)


# ---- JSON lines and CSV, once, to Parquet -----------------------------------------------------------------------------


def _convert(path: Path, target: Path, labels: tuple[str, ...]) -> None:
    rows = _jsonl_rows(path) if path.suffix.lower() != ".csv" else _csv_rows(path)
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
    for number, row in enumerate(rows, start=1):
        try:
            batch.append(_typed(row, labels))
        except (ValueError, TypeError, AttributeError, NarrativesError) as error:
            raise RecordError(path, number, None, f"is no row of `narratives score`: {error}") from error
        if len(batch) == _BATCH_ROWS:
            write()
    if batch:
        write()
    writer.close()


def _jsonl_rows(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise RecordError(path, number, None, f"is no JSON: {error}") from error
                yield row


def _csv_rows(path: Path) -> Iterator[dict[str, object]]:
    previous = csv.field_size_limit(2**24)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                yield {name: _plain(value) for name, value in row.items() if name is not None}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"is no readable CSV: {error}") from error
    finally:
        csv.field_size_limit(previous)


def _plain(value: str | None) -> str | None:
    """A cell without the apostrophe that `writers/delimited.py` puts before what a spreadsheet would run."""
    return plain_cell(value) if value else None


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
