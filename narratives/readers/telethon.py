"""Telethon's `to_json` and 4CAT's NDJSON: one message an object, as lines or as one array.

Times are ISO 8601 (Telethon) or epoch seconds (4CAT). Names of people are not kept: a chat with a user, and a forward whose source
is one, say only that it is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from narratives.errors import RecordError
from narratives.readers.fields import PRIVATE, clean_surrogates, parse_count, parse_time
from narratives.readers.jsonl import iter_objects
from narratives.records import Post, RejectedRecord


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of the file; service messages are passed over. `text_column` replaces "message" where given."""
    for number, item in iter_objects(path):
        if isinstance(item, RejectedRecord):
            yield item
            continue
        if _class(item) in {"MessageService", "MessageEmpty"}:
            continue
        notes: list[RejectedRecord] = []
        try:
            post = _post(item, path, number, text_column or "message", notes)
        except RecordError as error:
            yield RejectedRecord.from_error(error, repr(item))
            continue
        yield post
        yield from notes


def _class(item: Mapping[str, object]) -> str:
    return str(item.get("_", item.get("_type", "Message")))


def _is_person(entity: Mapping[str, object]) -> bool:
    """Telethon's User: channels and groups have a title, only users a first name or a phone."""
    return _class(entity) in {"User", "UserEmpty", "PeerUser"} or any(entity.get(k) is not None for k in ("first_name", "phone", "user_id"))


def _part(item: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = item.get(name)
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _post(item: Mapping[str, object], path: Path, number: int, text_field: str, notes: list[RejectedRecord]) -> Post:
    text = item.get(text_field, "" if "media" in item else None)
    if text is None and text_field in item:
        text = ""
    if not isinstance(text, str):
        found = ", ".join(f'"{name}"' for name in list(item)[:8])
        raise RecordError(path, number, text_field, f"is missing or no text; found {found}. Pass --text-column with its name.")

    def soft(name: str, parse: type[int] | type[datetime], holder: Mapping[str, object] = item) -> int | datetime | None:
        value = holder.get(name)
        if value is None:
            return None
        try:
            return parse_count(value) if parse is int else parse_time(value).astimezone(UTC)
        except (ValueError, OverflowError, OSError) as error:
            reason = f"{error}; the post is kept without it"
            notes.append(RejectedRecord(str(path), number, name, reason, repr(value)[:200], post_kept=True))
            return None

    chat = _part(item, "_chat") or _part(item, "chat")
    peer = _part(item, "peer_id") or _part(item, "to_id")
    peer_id = next((peer[k] for k in ("channel_id", "chat_id") if peer.get(k) is not None), None)
    username, title = chat.get("username"), chat.get("title")
    channel = username or title or (f"channel{peer_id}" if peer_id is not None else None)
    if _is_person(chat) or (peer_id is None and _is_person(peer)):
        peer_id, username, channel = None, None, PRIVATE
    message_id = item.get("id")
    return Post(
        text=clean_surrogates(text),
        id=clean_surrogates(str(message_id) if peer_id is None else f"{peer_id}_{message_id}"),
        channel=clean_surrogates(str(channel)) if channel is not None else None,
        published_at=cast("datetime | None", soft("date", datetime)),
        url=clean_surrogates(f"https://t.me/{username}/{message_id}") if isinstance(username, str) and message_id is not None else None,
        views=cast("int | None", soft("views", int)),
        forwards=cast("int | None", soft("forwards", int)),
        forwarded_from=_source(item),
        forwarded_at=cast("datetime | None", soft("date", datetime, _part(item, "fwd_from"))),
    )


def _source(item: Mapping[str, object]) -> str | None:
    forward = _part(item, "fwd_from")
    if not forward:
        return None
    named = _part(_part(item, "_forward"), "_chat") or _part(item, "_forward")
    if _is_person(named) or _is_person(_part(forward, "from_id")):
        return PRIVATE
    if isinstance(name := named.get("username") or named.get("title"), str):
        return clean_surrogates(name)
    channel_id = _part(forward, "from_id").get("channel_id", forward.get("channel_id"))
    return clean_surrogates(f"channel{channel_id}") if channel_id is not None else PRIVATE
