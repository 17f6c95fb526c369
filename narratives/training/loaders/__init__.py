"""Annotated posts from wherever they were annotated. One file a format, each with `rows(path, columns) -> Iterator[Row]`, and one line in
`plugins.LOADERS`.

A loader only cuts a file into rows: text, labels as they were written, stance, group, part of a split. What a written label means in a
taxonomy is decided here, for all of them alike: its id, or one of its names, in any case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from narratives import plugins
from narratives.errors import InputError, RecordError
from narratives.readers.fields import clean_surrogates
from narratives.records import STANCES, Post, Stance
from narratives.taxonomy import Taxonomy

PARTS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
MAX_LABEL_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One annotated text as a loader found it. `labels` is None where nobody annotated it."""

    text: object
    labels: Sequence[object] | None
    line: int
    id: str | None = None
    stance: object = None
    group: str | None = None
    language: str | None = None
    part: str | None = None


@dataclass(slots=True)
class Annotated:
    """Posts with labels of the taxonomy. `parts` has for each the part of a split the data came with, or None."""

    posts: list[Post] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    n_without_annotation: int = 0
    format: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a loader shall look, if names are unusual; None: the usual names."""

    text: str | None = None
    labels: str | None = None


Rows = Callable[[Path, Columns], Iterator[Row]]


def read_annotated(path: str | Path, taxonomy: Taxonomy, *, format: str = "auto", columns: Columns | None = None) -> Annotated:
    """Read annotated posts of any supported form.

    Args:
        path: a file, a folder of `*.jsonl`, a `save_to_disk` folder, or a hub's id of a dataset.
        format: a name of `plugins.LOADERS`, or "auto" to look into the file.
        columns: unusual names of columns.

    Raises:
        InputError: it is absent, in no known form, or holds no annotated post.
        RecordError: one row has no text, a label that the taxonomy does not know, or an unknown stance. One wrong row stops it.
    """
    path, columns = Path(path), columns or Columns()
    files = [path]
    if format == "auto":
        format, files = _detect(path)
    format = plugins.known_name("format of annotated posts", plugins.LOADERS, format)
    rows = cast(Rows, plugins.load("format", plugins.LOADERS, format))
    known = written_names(taxonomy)
    found = Annotated(format=format)
    for file in files:
        for row in rows(file, columns):
            if row.labels is None:
                found.n_without_annotation += 1
                continue
            found.posts.append(_post(row, known, taxonomy, file))
            found.parts.append(PARTS.get(row.part.lower()) if row.part else None)
    if not found.posts:
        skipped = f"; {found.n_without_annotation} rows were not annotated" if found.n_without_annotation else ""
        raise InputError(path, f"holds no annotated post (read as {format}){skipped}. {_LABELS_HINT}")
    return found


_LABELS_HINT = 'Expected a text and its labels, such as {"text": "…", "labels": ["id"]}; other names: --text-column, --label-column.'


def written_names(taxonomy: Taxonomy) -> dict[str, str]:
    """What a label may be called in data -> its id: ids first, then names where they mean one label only."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for label in taxonomy:
        for name in {plain(n) for n in label.names.values()}:
            counts[name] += 1
            names[name] = label.id
    return {name: i for name, i in names.items() if counts[name] == 1} | {plain(i): i for i in taxonomy.ids}


def plain(name: str) -> str:
    """Case, spaces and signs between words make no other label: "Science/Technology" is science_technology."""
    return re.sub(r"[\W_]+", "_", name.strip().casefold()).strip("_")


def _post(row: Row, known: Mapping[str, str], taxonomy: Taxonomy, file: Path) -> Post:
    if not isinstance(row.text, str):
        raise RecordError(file, row.line, "text", f"holds {type(row.text).__name__}, expected text; pass --text-column with its column")
    labels: list[str] = []
    for raw in row.labels or ():
        name = raw if isinstance(raw, str) else str(raw)
        if plain(name) in _NOTHING:
            continue
        label = known.get(plain(name))
        if label is None:
            shown = name[:MAX_LABEL_CHARACTERS]
            raise RecordError(
                file, row.line, "labels", f"holds {shown!r}; known: {', '.join(taxonomy.ids)}. Add it to the taxonomy or mend it."
            )
        if label not in labels:
            labels.append(label)
    if taxonomy.single_label and len(labels) > 1:
        raise RecordError(file, row.line, "labels", f"holds {len(labels)} labels, and the taxonomy says single_label; expected one at most")
    stance = _stance(row, file)
    return Post(
        text=clean_surrogates(row.text),
        id=row.id,
        labels=tuple(i for i in taxonomy.ids if i in labels),
        stance=stance if labels else None,
        group=row.group,
        language=row.language,
    )


_NOTHING = frozenset({"", "none", "nan", "null", "нет", "жоқ"})


def _stance(row: Row, file: Path) -> Stance | None:
    if row.stance is None or (isinstance(row.stance, str) and plain(row.stance) in _NOTHING) or row.stance != row.stance:
        return None
    name = str(row.stance).strip().lower()
    if name not in STANCES:
        raise RecordError(file, row.line, "stance", f"holds {str(row.stance)[:50]!r}, expected one of {', '.join(STANCES)}, or nothing")
    return name


def _detect(path: Path) -> tuple[str, list[Path]]:
    """The format, and the files it is in."""
    if path.is_dir():
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            return "datasets", [path]
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise InputError(path, "holds no *.jsonl file, and is no folder written by datasets' save_to_disk")
        return "jsonl", files
    if not path.is_file():
        if re.fullmatch(r"[\w.\-]+/[\w.\-]+", str(path)):
            return "datasets", [path]
        raise InputError(path, "no such file")
    from narratives.readers.sniff import detect_format
    from narratives.training.loaders.json_rows import dialect

    head = detect_format(path)
    if head in {"csv", "parquet"}:
        return head, [path]
    return dialect(path), [path]


def part_of(names: Iterable[str]) -> str | None:
    """The first of a row's column names that says which part of a split the row is in."""
    return next((name for name in names if name.lower() in {"split", "part", "subset"}), None)
