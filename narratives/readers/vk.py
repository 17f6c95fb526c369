"""VK's `wall.get`: the answer as it came, its `items`, or one item a line.

A repost counts as the reposter's own words where it has any, else as the text it reposts: readers saw that text.
Ids above 0 are people and are not kept; communities have negative ids.
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
    """Posts of one or more walls. `text_column` replaces "text" where given."""
    for number, item in iter_objects(path, keys=frozenset({"items"})):
        if isinstance(item, RejectedRecord):
            yield item
            continue
        notes: list[RejectedRecord] = []
        try:
            post = _post(item, path, number, text_column or "text", notes)
        except RecordError as error:
            yield RejectedRecord.from_error(error, repr(item))
            continue
        yield post
        yield from notes


def _count(item: Mapping[str, object], name: str, path: Path, number: int, notes: list[RejectedRecord]) -> int | None:
    holder = item.get(name)
    value = cast("Mapping[str, object]", holder).get("count") if isinstance(holder, dict) else holder
    if value is None:
        return None
    try:
        return parse_count(value)
    except ValueError as error:
        notes.append(RejectedRecord(str(path), number, name, f"{error}; the post is kept without it", repr(value)[:200], post_kept=True))
        return None


def _post(item: Mapping[str, object], path: Path, number: int, text_field: str, notes: list[RejectedRecord]) -> Post:
    text = item.get(text_field)
    if not isinstance(text, str):
        found = ", ".join(f'"{name}"' for name in list(item)[:8])
        raise RecordError(path, number, text_field, f"is missing or no text; found {found}. Pass --text-column with its name.")
    history = item.get("copy_history")
    original = history[0] if isinstance(history, list) and history and isinstance(history[0], dict) else None
    forwarded_from = None
    if original is not None:
        source = original.get("owner_id")
        forwarded_from = f"club{-source}" if isinstance(source, int) and source < 0 else PRIVATE
        if not text.strip() and isinstance(original.get("text"), str):
            text = original["text"]
    owner, post_id = item.get("owner_id"), item.get("id")
    is_community = isinstance(owner, int) and owner < 0

    def instant(holder: Mapping[str, object], name: str) -> datetime | None:
        if (stamp := holder.get("date")) is None:
            return None
        try:
            return parse_time(stamp).astimezone(UTC)
        except (ValueError, OverflowError, OSError) as error:
            reason = f"{error}; the post is kept without it"
            notes.append(RejectedRecord(str(path), number, name, reason, repr(stamp)[:200], post_kept=True))
            return None

    return Post(
        text=clean_surrogates(text),
        # The id of a person's wall is the person's: only a community's is kept.
        id=clean_surrogates(f"{owner}_{post_id}" if is_community else str(post_id)),
        channel=f"club{-owner}" if isinstance(owner, int) and owner < 0 else (PRIVATE if owner is not None else None),
        published_at=instant(item, "date"),
        url=clean_surrogates(f"https://vk.com/wall{owner}_{post_id}") if is_community else None,
        views=_count(item, "views", path, number, notes),
        forwards=_count(item, "reposts", path, number, notes),
        forwarded_from=forwarded_from,
        forwarded_at=instant(original, "copy_history.date") if original is not None else None,
    )
