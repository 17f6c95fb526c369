"""Labels and their taxonomy: read from TOML, checked, ordered, digested.

The labels the project ships are `narratives/taxonomies/kazakhstan.toml`; anybody's own file of the same form is accepted
wherever a taxonomy is. Ids are stable and never reused: they become column names.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from narratives.errors import TaxonomyError, UnknownName

_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = frozenset({"endorses", "reports", "refutes"})  # p_<stance> columns


@dataclass(frozen=True, slots=True)
class Example:
    """An invented post that carries the label."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """One narrative. `names`, `definitions` and `not_this` are texts by language (en, ru, kk)."""

    id: str
    names: Mapping[str, str]
    definitions: Mapping[str, str]
    not_this: Mapping[str, str]
    examples: tuple[Example, ...] = ()
    sources: tuple[str, ...] = ()

    def name(self, language: str = "en") -> str:
        """Name in the language, else in English, else the id."""
        return self.names.get(language) or self.names.get("en") or self.id

    def definition(self, language: str = "en") -> str:
        """Definition in the language, else in English, else empty."""
        return self.definitions.get(language) or self.definitions.get("en") or ""


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Labels in a fixed order: the order of columns, targets and probabilities."""

    name: str
    version: int
    labels: tuple[Label, ...]
    single_label: bool = False
    """Whether a post has one label at most; the strongest is then the only one flagged."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(label.id for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __getitem__(self, label_id: str) -> Label:
        for label in self.labels:
            if label.id == label_id:
                return label
        raise UnknownName("label", label_id, self.ids)

    def select(self, label_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Check that each id is known and give them in taxonomy order.

        Raises:
            UnknownName: an id is not in this taxonomy.
        """
        for label_id in label_ids:
            self[label_id]
        return tuple(i for i in self.ids if i in label_ids)

    @property
    def digest(self) -> str:
        """sha256 over the ids in order: what decides whether a model's columns mean the same."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


def parse(text: str, source: str = "taxonomy") -> Taxonomy:
    """Read a taxonomy from the text of a TOML file.

    Raises:
        TaxonomyError: the text is not TOML or lacks what a taxonomy needs; says where and what was expected.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TaxonomyError(f"{source}: not valid TOML: {error}") from error
    blocks = data.get("label")
    if not isinstance(blocks, list) or not blocks:
        raise TaxonomyError(f"{source}: no [[label]] block found; expected one block a label, each with an id")
    labels = tuple(_parse_label(block, f"{source}: label {number}") for number, block in enumerate(blocks, start=1))
    seen: set[str] = set()
    for label in labels:
        if label.id in seen:
            raise TaxonomyError(f"{source}: label id {label.id!r} stands twice; ids must be unique")
        seen.add(label.id)
    name, version = data.get("name", Path(source).stem), data.get("version", 1)
    if not isinstance(name, str) or not isinstance(version, int):
        raise TaxonomyError(f"{source}: name must be a string and version a whole number")
    single = data.get("single_label", False)
    if not isinstance(single, bool):
        raise TaxonomyError(f"{source}: single_label is {single!r}; expected true or false")
    return Taxonomy(name=name, version=version, labels=labels, single_label=single)


def dump(taxonomy: Taxonomy) -> str:
    """The taxonomy as TOML that `parse` reads back to an equal one."""
    lines = [
        f"name = {_quoted(taxonomy.name)}",
        f"version = {taxonomy.version}",
        *(["single_label = true"] if taxonomy.single_label else []),
    ]
    for label in taxonomy:
        lines += ["", "[[label]]", f"id = {_quoted(label.id)}"]
        for key, texts in (("name", label.names), ("definition", label.definitions), ("not", label.not_this)):
            if texts:
                lines.append(f"{key} = {{ {', '.join(f'{_key(code)} = {_quoted(text)}' for code, text in texts.items())} }}")
        if label.examples:
            lines.append("examples = [")
            lines += [f"  {{ lang = {_quoted(e.language)}, text = {_quoted(e.text)} }}," for e in label.examples]
            lines.append("]")
        if label.sources:
            lines.append(f"sources = [{', '.join(map(_quoted, label.sources))}]")
    return "\n".join(lines) + "\n"


def template(name: str, label_ids: Sequence[str] = ()) -> str:
    """A taxonomy to fill in, with what each key is for said beside it.

    Args:
        label_ids: labels to start with; none: two invented ones.

    Raises:
        TaxonomyError: an id has other characters than a taxonomy's ids may have.
    """
    blocks = []
    for label_id in label_ids or ("first_label", "second_label"):
        if not _ID.fullmatch(label_id) or label_id in _RESERVED:
            raise TaxonomyError(
                f"label id {label_id!r}; expected lower-case letters, digits and _, at most 63, letter first, and no stance's name"
            )
        blocks.append(_BLOCK.format(id=label_id, name=label_id.replace("_", " ")))
    return _TEMPLATE.format(name=_quoted(name)) + "".join(blocks)


_TEMPLATE = """# Labels: one [[label]] block each. Keep ids for ever: they become column names.
name = {name}
version = 1
# single_label = true    # if a post has one label at most
"""
_BLOCK = """
[[label]]
id = "{id}"
name = {{ en = "{name}" }}    # more languages: ru = "…", kk = "…"
# What a post must say to carry the label, in a sentence or two, best also in the language of the posts. With few examples
# this text is what the model knows first.
definition = {{ en = "" }}
# What is near to it and is something else.
not = {{ en = "" }}
# Invented posts that carry it.
examples = [
  # {{ lang = "ru", text = "…" }},
]
"""


def _quoted(text: str) -> str:
    # JSON's strings are TOML's, but for one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(code: str) -> str:
    return code if re.fullmatch(r"[A-Za-z0-9_-]+", code) else _quoted(code)


def _parse_label(block: object, where: str) -> Label:
    if not isinstance(block, dict):
        raise TaxonomyError(f"{where}: expected a [[label]] table, found {type(block).__name__}")
    label_id = block.get("id")
    if not isinstance(label_id, str) or not _ID.fullmatch(label_id):
        raise TaxonomyError(f"{where}: id is {label_id!r}; expected lower-case letters, digits and _, at most 63, letter first")
    if label_id in _RESERVED:
        raise TaxonomyError(f"{where}: id {label_id!r} is the name of a stance; choose another")
    known = {"id", "name", "definition", "not", "examples", "sources"}
    if unknown := sorted(set(block) - known):
        raise UnknownName(f"key in {where} ({label_id})", unknown[0], sorted(known))
    examples = []
    for example in block.get("examples", []):
        if not isinstance(example, dict) or not {"lang", "text"} <= example.keys():
            raise TaxonomyError(f'{where} ({label_id}): an example must be {{ lang = "ru", text = "…" }}')
        examples.append(Example(str(example["lang"]), str(example["text"])))
    sources = block.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise TaxonomyError(f"{where} ({label_id}): sources must be a list of strings")
    return Label(
        id=label_id,
        names=_texts(block.get("name", label_id), f"{where} ({label_id}): name"),
        definitions=_texts(block.get("definition", {}), f"{where} ({label_id}): definition"),
        not_this=_texts(block.get("not", {}), f"{where} ({label_id}): not"),
        examples=tuple(examples),
        sources=tuple(sources),
    )


def _texts(value: object, where: str) -> dict[str, str]:
    if isinstance(value, str):
        return {"en": value}
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    raise TaxonomyError(f'{where} must be a string or a table by language, such as {{ en = "…", ru = "…", kk = "…" }}')


def load(name_or_path: str | Path = "kazakhstan") -> Taxonomy:
    """Read a shipped taxonomy by name, or anybody's TOML file by path.

    Raises:
        UnknownName: neither a shipped name nor an existing file.
        TaxonomyError: the file is malformed.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        try:
            return parse(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError as error:
            raise TaxonomyError(f"{path}: no such file; expected a taxonomy in TOML") from error
        except UnicodeDecodeError as error:
            raise TaxonomyError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    return parse(shipped_text(str(name_or_path)), f"{name_or_path}.toml")


def shipped_text(name: str) -> str:
    """The TOML text of a shipped taxonomy."""
    folder = resources.files("narratives") / "taxonomies"
    known = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in known:
        raise UnknownName("taxonomy", name, known)
    return (folder / f"{name}.toml").read_text(encoding="utf-8")
