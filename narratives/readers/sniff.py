"""Which format a file is in: by its first bytes, then by what its first records look like."""

from __future__ import annotations

import json
import re
from pathlib import Path

from narratives import plugins
from narratives.errors import InputError
from narratives.readers.source import detect_encoding, sample

_VK_KEYS = (b'"owner_id"', b'"copy_history"')
_TELETHON_KEYS = (b'"peer_id"', b'"_type"', b'"fwd_from"', b'"_": "Message')


def detect_format(path: Path) -> str:
    """The name of the reader that fits.

    Raises:
        InputError: the file is empty or looks like none of them; says what it starts with.
    """
    head = sample(path)
    if head[:4] == b"PAR1":
        return "parquet"
    if not head.strip():
        raise InputError(path, "is empty")
    encoding = detect_encoding(head)
    start = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n").encode("utf-8", "replace")
    if start[:1] in (b"{", b"["):
        return _json_dialect(start)
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    by_name = plugins.by_suffix(plugins.READERS, Path(name).suffix)
    if by_name in {"csv", "jsonl"}:
        return by_name
    first_line = start.split(b"\n", 1)[0]
    if b"\0" not in start[:4096] and re.search(rb"[,;\t|]", first_line):
        return "csv"
    shown = first_line[:40].decode("utf-8", "replace")
    raise InputError(path, f"starts with {shown!r}; known formats: {', '.join(plugins.READERS)}. Name one with --format.")


def _json_dialect(start: bytes) -> str:
    top = start[:4096]
    if top[:1] == b"{":
        first_line = start.split(b"\n", 1)[0]
        whole_line = _is_object(first_line)
        if not whole_line and re.search(rb'"(?:messages|chats|left_chats)"\s*:', start[:65536]):
            return "telegram_desktop"
        if re.search(rb'"(?:messages|chats)"\s*:\s*[\[{]', top) and re.search(rb'"(?:text_entities|date_unixtime|type)"', start[:65536]):
            return "telegram_desktop"
        if re.search(rb'^\{\s*"(?:response|items|count)"', top) and any(key in start[:65536] for key in _VK_KEYS):
            return "vk"
    if any(key in start[:65536] for key in _VK_KEYS) and b'"from_id"' in start[:65536] and b'"peer_id"' not in start[:65536]:
        return "vk"
    if any(key in start[:65536] for key in _TELETHON_KEYS) and (b'"message"' in start[:65536] or b'"_type"' in start[:65536]):
        return "telethon"
    return "jsonl"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
