"""From a record's raw fields to a post's: common column names, counts, times, and whose name may be shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from narratives.errors import InputError, RecordError
from narratives.records import STANCES, Post, RejectedRecord, Stance

PRIVATE = "(private)"
"""Stands for the name of a person: authors who are private people are not output."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "message", "body", "content", "post", "caption", "message_text", "post_text", "full_text"),
    "id": ("id", "message_id", "post_id", "msg_id"),
    "channel": ("channel", "chat", "channel_name", "channel_username", "chat_name", "group_name", "source", "domain"),
    "published_at": ("published_at", "date", "unix_timestamp", "timestamp", "datetime", "created_at", "time", "date_unixtime"),
    "url": ("url", "link", "permalink", "post_url"),
    "views": ("views", "view_count", "views_count"),
    "forwards": ("forwards", "forward_count", "reposts", "shares", "reposts_count", "forwards_count"),
    "forwarded_from": ("forwarded_from", "author_forwarded_from_username", "author_forwarded_from_name", "fwd_from_name"),
    "forwarded_at": ("forwarded_at", "unix_timestamp_forwarded_from", "timestamp_forwarded_from", "fwd_from_date"),
    "language": ("language", "lang"),
    "labels": ("labels",),
    "stance": ("stance",),
    "group": ("group", "group_id", "event"),
}
"""Post field -> names it has in the wild, the surest first. Compared without case, spaces and dashes."""

_NAMES_OF_ANYBODY = frozenset({"author_forwarded_from_name", "fwd_from_name"})
"""Columns with the display name of a forward's source, which may be a person: they say that there is one, not who."""


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def match_columns(found: Iterable[str], text_column: str | None, path: Path) -> dict[str, list[str]]:
    """Which columns of a file hold which field of a post; a field may have several, the surest first.

    Raises:
        InputError: no text column; says what was found and what to pass.
    """
    names = [name for name in found if name]
    by_plain = {_plain(name): name for name in reversed(names)}
    matched = {field: [by_plain[candidate] for candidate in candidates if candidate in by_plain] for field, candidates in COLUMNS.items()}
    if text_column is not None:
        if text_column not in names:
            raise InputError(path, f"no column {text_column!r}; found {', '.join(names[:20])}. Pass --text-column with one of them.")
        matched["text"] = [text_column]
    if not matched["text"]:
        raise InputError(
            path,
            f"no text column; found {', '.join(names[:20])}, looked for {', '.join(COLUMNS['text'])}. Pass --text-column with its name.",
        )
    return matched


def post_from_fields(
    record: Mapping[str, object], columns: Mapping[str, list[str]], path: Path, line: int
) -> tuple[Post, list[RejectedRecord]]:
    """Build a post from a flat record.

    Returns:
        The post, and a note for each field other than the text that was there but unreadable.

    Raises:
        RecordError: the text is missing or is no text.
    """
    raw: dict[str, object] = {}
    for field, names in columns.items():
        found = next((name for name in names if not _is_empty(record.get(name))), None)
        raw[field] = None if found is None else PRIVATE if _plain(found) in _NAMES_OF_ANYBODY else record[found]
    text_name = columns["text"][0]
    text = raw["text"]
    if text is None:
        if text_name in record and isinstance(record[text_name], str):
            text = ""  # a post without words (a picture, say) is still a post
        else:
            raise RecordError(path, line, text_name, f"is missing; found {_names(record)}. Rename it or pass --text-column.")
    if not isinstance(text, str):
        raise RecordError(path, line, text_name, f"holds {type(text).__name__}, expected text")
    notes: list[RejectedRecord] = []

    def soft(field: str, value: object) -> object:
        try:
            return _PARSERS[field](value)
        except (ValueError, OverflowError, OSError) as error:
            name = columns[field][0] if columns.get(field) else field
            reason = f"{error}; the post is kept without it"
            notes.append(RejectedRecord(str(path), line, name, reason, repr(value)[:200], post_kept=True))
            return None

    values = {field: soft(field, value) for field, value in raw.items() if field != "text" and value is not None}
    post = Post(text=clean_surrogates(text), **values)  # type: ignore[arg-type]  # each parser gives its field's type
    return post, notes


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def _names(record: Mapping[str, object]) -> str:
    return ", ".join(f'"{name}"' for name in list(record)[:8])


def clean_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone halves by U+FFFD: no file format can hold them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
    return text


def parse_time(value: object) -> datetime:
    """ISO 8601, epoch seconds or milliseconds, or the usual written forms, in UTC; without a zone it counts as UTC.

    Raises:
        ValueError: none of these.
        OverflowError: it is not between the years 1 and 9999 of UTC.
    """
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a time")
    if isinstance(value, str):
        value = value.strip()
        if re.fullmatch(r"-?\d{9,13}(\.\d+)?", value):
            value = float(value)
    if isinstance(value, int | float):
        seconds = value / 1000 if abs(value) > 1e11 else value
        return datetime.fromtimestamp(seconds, UTC)
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = _parse_written(value)
        return _in_utc(parsed)
    raise ValueError(f"{value!r} is not a time; expected ISO 8601 or epoch seconds")


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _parse_written(value: str) -> datetime:
    for pattern in ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S"):
        try:
            return datetime.strptime(value, pattern)  # noqa: DTZ007  # zone added by the caller
        except ValueError:
            continue
    raise ValueError(f"{value!r} is not a time; expected ISO 8601 or epoch seconds")


def parse_count(value: object) -> int:
    """A count: 1200, "1 200", "1.2K". Raises ValueError for anything else, negative numbers included."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a count")
    if isinstance(value, int | float):
        number = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"([\d\s\u00a0\u202f]+(?:[.,]\d+)?)\s*([KkКкMmМм]?)", value.strip())):
        digits = re.sub(r"\s", "", match.group(1)).replace(",", ".")
        number = float(digits) * {"": 1, "k": 1e3, "к": 1e3, "m": 1e6, "м": 1e6}[match.group(2).lower()]
    else:
        raise ValueError(f"{value!r} is not a count; expected a whole number")
    if not math.isfinite(number) or number < 0 or number > 2**62:
        raise ValueError(f"{value!r} is not a count; expected a whole number from 0 up")
    return round(number)


def parse_labels(value: object) -> tuple[str, ...]:
    """A list of ids, or text with ids separated by commas, semicolons or bars. "" and [] mean: annotated as none."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,;|\s]+", value.strip("[]").replace('"', "").replace("'", "")) if part)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f"{value!r} is not a list of label ids")


def _parse_stance(value: object) -> Stance:
    if value in STANCES:
        return value
    raise ValueError(f"{value!r} is not a stance; expected one of {', '.join(STANCES)}")


def _parse_text(value: object) -> str:
    if isinstance(value, bool | list | dict):
        raise ValueError(f"holds {type(value).__name__}, expected text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return clean_surrogates(str(value))


_PARSERS = {
    "id": _parse_text,
    "channel": _parse_text,
    "published_at": parse_time,
    "url": _parse_text,
    "views": parse_count,
    "forwards": parse_count,
    "forwarded_from": _parse_text,
    "forwarded_at": parse_time,
    "language": _parse_text,
    "labels": parse_labels,
    "stance": _parse_stance,
    "group": _parse_text,
}
