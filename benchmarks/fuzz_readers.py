"""Coverage-guided fuzzing of one reader: whatever bytes it gets, it gives posts and rejected records or an `InputError`.

    pip install atheris
    python benchmarks/fuzz_readers.py telegram_desktop --seconds 600

The first byte of an input chooses whether the rest is read as it stands, or inside whole gzip or zstd. What a reader gives must be fit
for every output: Arrow takes each post, orjson each rejected record. An input that breaks a rule is written to `--findings`, and
becomes a test in `tests/readers/test_hostile.py`. Atheris is libFuzzer for Python (github.com/google/atheris, Apache-2.0).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

with atheris.instrument_imports(include=["narratives"]):
    from narratives import plugins
    from narratives.errors import InputError
    from narratives.parts import rejected_line
    from narratives.readers import detect_format, read_posts
    from narratives.records import Post, Prediction
    from narratives.writers.table import to_batch

    READERS = {name: plugins.load("format", plugins.READERS, name) for name in plugins.READERS}  # imported here, to be instrumented

KEYWORDS = [
    "messages", "chats", "left_chats", "list", "type", "message", "service", "unsupported", "text", "text_entities", "date_unixtime",
    "date",
    "forwarded_from", "forwarded_from_id", "channel1", "user1", "public_channel", "document_id", "items", "response", "owner_id", "from_id",
    "copy_history", "reposts", "views", "count", "peer_id", "channel_id", "fwd_from", "_forward", "_chat", "username", "title", "_",
    "_type",
    "MessageService", "labels", "stance", "endorses", "group", "language", "id", "media",
]  # fmt: skip
SYNTAX = ["{", "}", "[", "]", '"', "\\", "\\x00", "\\ud800", "\\udc00", "\n", "\r\n", ",", ";", "\t", "|", ":"]
VALUES = ["null", "1e999", "-1", "9" * 20, "NaN"]
TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-00-00", "253402300800", "-62135596801"]


def seeds(reader: str) -> list[bytes]:
    """A small file of the format, and the same with a fault or two that dumps have."""
    when = "2023-10-06T09:12:31+00:00"
    message = {"id": 1, "type": "message", "date": when, "date_unixtime": "1696583551", "text": ["Пост ", {"type": "bold", "text": "да"}]}
    forward = {**message, "forwarded_from": "Канал", "forwarded_from_id": "channel5", "text": "", "text_entities": [{"text": "ә"}]}
    chat = {"name": "Арна", "type": "public_channel", "id": 7, "messages": [message, forward, {"id": 2, "type": "service"}]}
    telethon = {"_": "Message", "id": 1, "peer_id": {"channel_id": 7}, "date": when, "message": "Пост", "views": 3}
    told = {**telethon, "fwd_from": {"from_id": {"user_id": 5}, "from_name": "Имя"}, "_chat": {"username": "kanal", "title": "Арна"}}
    item = {"id": 1, "owner_id": -7, "from_id": 5, "date": 1696583551, "text": "Пост", "views": {"count": 3}, "reposts": {"count": 1}}
    repost = {**item, "text": "", "copy_history": [{"owner_id": 5, "text": "Чужой"}]}
    row = {"id": 1, "text": "Пост", "date": when, "views": "1.2K", "labels": ["a"], "stance": "reports", "channel": "x", "group": "g"}

    def lines(*rows: object) -> str:
        return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)

    found: dict[str, list[str]] = {
        "telegram_desktop": [
            json.dumps(chat, ensure_ascii=False, indent=1),
            json.dumps({"chats": {"list": [chat, chat]}, "left_chats": {"list": [chat]}}, indent=1),
            json.dumps(chat).replace('"text": [', '"photo": "\\x07", "document_id": 12abc, "text": ['),
        ],
        "telethon": [lines(telethon, told, {"_": "MessageService", "id": 3}), json.dumps([telethon, told])],
        "vk": [json.dumps({"response": {"count": 2, "items": [item, repost]}}), json.dumps([item]), lines(item, repost)],
        "csv": [
            'id,text,date,views\n1,"Пост ""да""\nдве строки",2023-10-06,3\n2,нет,,\n',
            "id;body\n1;да;лишнее\n",
            'text\tid\n"не закрыт\t1\n',
        ],
        "jsonl": [lines(row, {"id": 2}, row), json.dumps([row, row], indent=1), json.dumps({"data": [row]})],
    }
    if reader == "parquet":
        sink = pa.BufferOutputStream()
        table = pa.table({"id": ["1", None], "text": ["Пост", ""], "views": [3, None], "date": [when, "когда-то"]})
        pq.write_table(table, sink)
        flat = pa.BufferOutputStream()
        pq.write_table(table, flat, compression="none", use_dictionary=False)
        return [sink.getvalue().to_pybytes(), flat.getvalue().to_pybytes()]
    return [text.encode() for text in found[reader]]


def give(data: bytes, path: Path) -> None:
    kind, rest = data[0] % 4, data[1:]
    if kind == 1:
        rest = gzip.compress(rest, 0)
    elif kind == 2:
        rest = zstandard.compress(rest, 1)
    path.write_bytes(rest)


def check(data: bytes, reader: str, path: Path) -> None:
    """The rule. Raises whatever a reader raises that it should not, or AssertionError."""
    if not data:
        return
    give(data, path)
    for name in {reader, sniffed(path)} - {""}:
        posts: list[Post] = []
        try:
            for item in read_posts(path, format=name):
                if isinstance(item, Post):
                    posts.append(item)
                else:
                    rejected_line(item)
        except InputError:
            pass
        to_batch([Prediction(post, (), {}, None, {}) for post in posts], ())


def keeper(reader: str, scratch: Path, findings: Path) -> Callable[[bytes], None]:
    """`check` for each input; what breaks the rule is kept, one input for each place in the code, and the run goes on."""
    seen: set[tuple[str, str, int]] = set()

    def one(data: bytes) -> None:
        try:
            check(data, reader, scratch)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = next((f for f in reversed(frames) if "/narratives/" in f.filename), frames[-1])
            key = (type(error).__name__, place.filename, place.lineno or 0)
            if key not in seen:
                seen.add(key)
                target = findings / f"{reader}-{hashlib.sha256(data).hexdigest()[:12]}"
                target.write_bytes(data)
                print(f"FOUND {target}: {place.filename}:{place.lineno}: {error!r:.300}", flush=True)

    return one


def sniffed(path: Path) -> str:
    try:
        return detect_format(path)
    except InputError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--max-bytes", type=int, default=4096)
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds(options.reader)):
            for kind in range(3):
                (corpus / f"seed-{number}-{kind}").write_bytes(bytes([kind]) + seed)
            (corpus / f"seed-{number}-cut").write_bytes(b"\0" + gzip.compress(seed)[:-9])
            (corpus / f"seed-{number}-cp1251").write_bytes(b"\0" + seed.decode("utf-8", "replace").encode("cp1251", "replace"))
            (corpus / f"seed-{number}-utf16").write_bytes(b"\0" + seed.decode("utf-8", "replace").encode("utf-16"))
        words = Path(folder, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in [*KEYWORDS, *SYNTAX, *VALUES, *TIMES]), encoding="ascii")
        scratch = Path(folder, "input")
        arguments = [
            sys.argv[0], str(corpus), f"-max_total_time={options.seconds}", f"-max_len={options.max_bytes}", "-timeout=600",
            "-rss_limit_mb=3072", f"-dict={words}", f"-artifact_prefix={options.findings}/{options.reader}-", "-print_final_stats=1",
            "-verbosity=1",
        ]  # fmt: skip
        atheris.Setup(arguments, keeper(options.reader, scratch, options.findings))
        atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "".join(f"\\x{b:02x}" for b in c.encode()) for c in word)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
