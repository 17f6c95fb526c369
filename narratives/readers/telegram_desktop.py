"""Telegram Desktop's `result.json`: one chat, or a full export with `chats.list` and `left_chats.list`.

Views, forwards and links are not in this format: they stay unknown. Names of people (authors, the other side of a personal chat,
and sources of forwards that are not known to be channels) are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from narratives.errors import RecordError
from narratives.readers.fields import PRIVATE, clean_surrogates, parse_time
from narratives.readers.json_stream import iter_records, parse_header, parse_object
from narratives.records import Post, RejectedRecord

_PUBLIC_CHATS = frozenset({"public_channel", "private_channel", "public_supergroup"})
_NAMED_CHATS = _PUBLIC_CHATS | {"private_group", "private_supergroup"}
"""All others (personal_chat, bot_chat, saved_messages, replies, a type that is yet to come) are named after a person."""


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of all chats in the file. Service messages are no posts and are passed over; `text_column` does not apply."""
    header_bytes, chat = b"", dict[str, object]()
    for record in iter_records(path, frozenset({"messages"})):
        if record.header != header_bytes:
            header_bytes, chat = record.header, parse_header(record.header)
        raw = record.data or b""
        if record.problem:
            yield RejectedRecord(str(path), record.number, None, record.problem, raw[:10_000].decode("utf-8", "replace"))
            continue
        try:
            message = parse_object(raw)
            if message.get("type", "message") == "service":
                continue
            notes: list[RejectedRecord] = []
            post = _post(message, chat, path, record.number, notes)
        except ValueError as error:
            found = error if isinstance(error, RecordError) else RecordError(path, record.number, None, str(error))
            yield RejectedRecord.from_error(found, raw[:10_000].decode("utf-8", "replace"))
            continue
        yield post
        yield from notes


def _post(message: dict[str, object], chat: dict[str, object], path: Path, number: int, notes: list[RejectedRecord]) -> Post:
    if message.get("type") == "unsupported":
        raise RecordError(path, number, "type", "is 'unsupported': Telegram Desktop could not export this message")
    if "text" not in message and "text_entities" not in message:
        raise RecordError(path, number, "text", f"is missing; found {', '.join(list(message)[:8])}")
    is_named = chat.get("type") in _NAMED_CHATS
    # A personal chat's id is the person's; its messages have numbers of their own among all such chats of an export.
    chat_id, message_id = chat.get("id") if is_named else None, message.get("id")
    name = chat.get("name") if is_named else PRIVATE
    published_at: datetime | None = None
    stamp = message.get("date_unixtime", message.get("date"))
    if stamp is not None:
        try:
            published_at = parse_time(stamp).astimezone(UTC)
        except (ValueError, OverflowError, OSError) as error:
            reason = f"{error}; the post is kept without it"
            notes.append(RejectedRecord(str(path), number, "date", reason, repr(stamp)[:200], post_kept=True))
    return Post(
        text=_text(message, path, number),
        id=clean_surrogates(str(message_id) if chat_id is None else f"{chat_id}_{message_id}"),
        channel=clean_surrogates(name) if isinstance(name, str) else None,
        published_at=published_at,
        forwarded_from=_source(message, chat),
    )


def _source(message: dict[str, object], chat: dict[str, object]) -> str | None:
    """The channel a post was forwarded from. In a private group, or where the id says user, it is a person."""
    if "forwarded_from" not in message:
        return None
    name, source_id = message["forwarded_from"], message.get("forwarded_from_id")
    if not isinstance(name, str) or not name:
        return "(unknown)"  # a deleted account: a forward all the same
    if isinstance(source_id, str):
        return clean_surrogates(name) if source_id.startswith("channel") else PRIVATE
    return clean_surrogates(name) if chat.get("type") in _PUBLIC_CHATS else PRIVATE


def _text(message: dict[str, object], path: Path, number: int) -> str:
    """The text as its readers saw it: plain strings and entities joined; hidden links are not shown."""
    value = message.get("text")
    if isinstance(value, str) and value:
        return clean_surrogates(value)
    if isinstance(value, list):
        parts: list[str] = []
        for part in value:
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, dict) and isinstance(part.get("text"), str):
                parts.append(part["text"])
            else:
                raise RecordError(path, number, "text", f"holds {type(part).__name__} in its list, expected strings and entities")
        return clean_surrogates("".join(parts))
    entities = message.get("text_entities")
    if isinstance(entities, list) and (value is None or value == ""):
        return clean_surrogates("".join(e["text"] for e in entities if isinstance(e, dict) and isinstance(e.get("text"), str)))
    if value == "" or value is None:
        return ""
    raise RecordError(path, number, "text", f"holds {type(value).__name__}, expected text or a list")
