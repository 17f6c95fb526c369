"""JSON lines, or one JSON array, of flat records; and the annotated corpus, which is JSON lines too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from narratives.errors import InputError, RecordError
from narratives.readers.fields import match_columns, post_from_fields
from narratives.readers.json_stream import iter_records, parse_object
from narratives.readers.source import BROKEN_COMPRESSION, MAX_RECORD_BYTES, detect_encoding, sample, text_lines
from narratives.records import Post, RejectedRecord

_NO_KEYS: frozenset[str] = frozenset()


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of the file; columns are matched by the common names in `fields.COLUMNS`, record by record."""
    n_posts = 0
    first_problem = ""
    matched: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for number, item in iter_objects(path, keys=frozenset({"items", "data", "posts", "messages", "results"})):
        if isinstance(item, RejectedRecord):
            first_problem = first_problem or item.reason
            yield item
            continue
        names = tuple(item)
        try:
            if names not in matched:
                if len(matched) > 1000:  # every record with other fields: do not remember them all
                    matched.clear()
                matched[names] = match_columns(names, text_column, path)
            post, notes = post_from_fields(item, matched[names], path, number)
        except InputError as error:
            first_problem = first_problem or error.reason
            yield RejectedRecord(str(path), number, None, error.reason, repr(item)[:10_000])
            continue
        except RecordError as error:
            yield RejectedRecord.from_error(error, repr(item))
            continue
        n_posts += 1
        yield post
        yield from notes
    if not n_posts and first_problem:
        raise InputError(path, first_problem)


def iter_objects(path: Path, *, keys: frozenset[str] = _NO_KEYS) -> Iterator[tuple[int, dict[str, object] | RejectedRecord]]:
    """The JSON objects of a file with their line or record numbers, whether it has one a line or is one document.

    Args:
        keys: names of the arrays that hold the records where the file is one object.
    """
    head = sample(path)
    start = head.decode(detect_encoding(head), errors="replace").lstrip("\ufeff \t\r\n")
    first_line = start.split("\n", 1)[0].strip()
    if start.startswith("[") or (keys and start.startswith("{") and not _parses(first_line)) or _holds(first_line, keys):
        for record in iter_records(path, keys, root_array=start.startswith("[")):
            yield record.number, _parsed(record.data or b"", path, record.number, record.problem)
        return
    number = 0
    try:
        for number, line in text_lines(path):
            if line is None:
                reason = f"the line is longer than {MAX_RECORD_BYTES:,} bytes"
                yield number, RejectedRecord(str(path), number, None, reason)
            elif line.strip():
                yield number, _parsed(line.encode("utf-8", "surrogatepass"), path, number, "")
    except BROKEN_COMPRESSION as error:
        yield number + 1, RejectedRecord(str(path), number + 1, None, f"the compressed file breaks off: {error}")


def _parsed(data: bytes, path: Path, number: int, problem: str) -> dict[str, object] | RejectedRecord:
    if not problem:
        try:
            return parse_object(data)
        except ValueError as error:
            problem = str(error)
    return RejectedRecord(str(path), number, None, problem, data[:10_000].decode("utf-8", "replace"))


def _parses(line: str) -> bool:
    try:
        parse_object(line.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    return True


def _holds(line: str, keys: frozenset[str]) -> bool:
    """Whether a file's only line is one object with one of the arrays in it ({"response": {"items": […]}})."""
    try:
        value = parse_object(line.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    inner = value.get("response", value)
    return isinstance(inner, dict) and any(isinstance(inner.get(key), list) for key in keys)
