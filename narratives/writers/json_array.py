"""A JSON array on disk, item by item: what annotation tools import, without holding it in memory."""

from __future__ import annotations

from pathlib import Path

import orjson


class JsonArray:
    """`add` items, then `close`. `before` and `after` stand around the array, for formats that wrap it."""

    def __init__(self, path: Path, before: bytes = b"[", after: bytes = b"]") -> None:
        self._stream = path.open("wb")
        self._after = after
        self._comma = b""
        self._stream.write(before + b"\n")

    def add(self, item: dict[str, object]) -> None:
        self._stream.write(self._comma + orjson.dumps(item, option=orjson.OPT_UTC_Z))
        self._comma = b",\n"

    def close(self) -> None:
        self._stream.write(b"\n" + self._after + b"\n")
        self._stream.close()


def metadata(
    row: dict[str, object], names: tuple[str, ...] = ("channel", "published_at", "url", "views", "forwards", "language")
) -> dict[str, object]:
    """What is known of a post beside its text; unknown things are left out, times are ISO 8601."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name in names if (value := row[name]) is not None}
