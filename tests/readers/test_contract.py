"""The same facts over every reader of the table."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from narratives import plugins
from narratives.errors import InputError
from narratives.readers import detect_format, read_posts
from narratives.records import Post, RejectedRecord

TEXTS = ["Бірінші жазба\nекі жол", "Второй пост, «с кавычками» и 😂", ""]
WHEN = datetime(2023, 10, 6, 9, 12, 31, tzinfo=UTC)
EPOCH = int(WHEN.timestamp())


def telegram(path: Path) -> None:
    messages: list[dict[str, object]] = [{"id": 1, "type": "service", "action": "create_channel", "text": ""}]
    messages += [
        {"id": i + 2, "type": "message", "date": "2023-10-06T12:12:31", "date_unixtime": str(EPOCH), "text": text, "text_entities": []}
        for i, text in enumerate(TEXTS)
    ]
    path.write_text(
        json.dumps({"name": "Арна", "type": "public_channel", "id": 77, "messages": messages}, ensure_ascii=False, indent=1), "utf-8"
    )


def telethon(path: Path) -> None:
    rows = [
        {"_": "Message", "id": i, "peer_id": {"_": "PeerChannel", "channel_id": 77}, "date": WHEN.isoformat(), "message": text, "views": 12}
        for i, text in enumerate(TEXTS)
    ]
    rows.append({"_": "MessageService", "id": 9, "peer_id": {"channel_id": 77}, "date": WHEN.isoformat()})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def vk(path: Path) -> None:
    items = [
        {"id": i, "owner_id": -77, "from_id": 5, "date": EPOCH, "text": text, "views": {"count": 12}, "reposts": {"count": 0}}
        for i, text in enumerate(TEXTS)
    ]
    path.write_text(json.dumps({"response": {"count": 3, "items": items}}, ensure_ascii=False), "utf-8")


def delimited(path: Path) -> None:
    quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    path.write_text("id,message,date,views\n" + "".join(f"{i},{text},{WHEN.isoformat()},12\n" for i, text in enumerate(quoted)), "utf-8")


def jsonl(path: Path) -> None:
    path.write_text(
        "".join(json.dumps({"id": i, "body": t, "date": EPOCH, "views": 12}, ensure_ascii=False) + "\n" for i, t in enumerate(TEXTS)),
        "utf-8",
    )


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": ["0", "1", "2"], "text": TEXTS, "published_at": [WHEN] * 3, "views": [12] * 3}), path)


MAKERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "telegram_desktop": (telegram, "result.json"),
    "telethon": (telethon, "posts.ndjson"),
    "vk": (vk, "wall.json"),
    "csv": (delimited, "posts.csv"),
    "jsonl": (jsonl, "posts.jsonl"),
    "parquet": (parquet, "posts.parquet"),
}


@pytest.fixture(params=sorted(plugins.READERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    make, name = MAKERS[request.param]
    path = tmp_path / name
    make(path)
    return request.param, path


def test_every_reader_file_has_its_line_in_the_table() -> None:
    shared = {"__init__", "source", "fields", "json_stream", "sniff"}
    files = {p.stem for p in (Path(plugins.__file__).parent / "readers").glob("*.py")} - shared
    assert files == {leaf.target.split(":")[0].rsplit(".", 1)[1] for leaf in plugins.READERS.values()}
    assert set(MAKERS) == set(plugins.READERS)


def test_the_format_is_recognised(made: tuple[str, Path]) -> None:
    name, path = made
    assert detect_format(path) == name


def test_texts_come_whole_and_in_order(made: tuple[str, Path]) -> None:
    _, path = made
    posts = list(read_posts(path))
    assert [post.text for post in posts if isinstance(post, Post)] == TEXTS
    assert len(posts) == len(TEXTS)


def test_times_are_instants_and_unknown_counts_are_none(made: tuple[str, Path]) -> None:
    name, path = made
    for post in read_posts(path):
        assert isinstance(post, Post)
        assert post.published_at == WHEN
        assert post.views == (None if name == "telegram_desktop" else 12)
        assert post.forwards == (0 if name == "vk" else None)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_compressed_files_are_read_alike(made: tuple[str, Path], compress: Callable[[bytes], bytes]) -> None:
    name, path = made
    if name == "parquet":
        pytest.skip("Parquet compresses inside")
    packed = path.with_name(path.name + ".packed")
    packed.write_bytes(compress(path.read_bytes()))
    assert list(read_posts(packed, format=name)) == list(read_posts(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1251", "utf-16"])
def test_encodings_met_in_practice(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes("id;text\n1;Проверка кодировки в файле\n2;Ещё одна строка текста\n".encode(encoding))
    assert [p.text for p in read_posts(path) if isinstance(p, Post)] == ["Проверка кодировки в файле", "Ещё одна строка текста"]


def test_a_truncated_gzip_keeps_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl.gz"
    rows = "".join(json.dumps({"id": i, "text": f"пост номер {i} " * 20}, ensure_ascii=False) + "\n" for i in range(3000))
    path.write_bytes(gzip.compress(rows.encode())[:-2000])
    items = list(read_posts(path))
    assert len(items) > 1000
    assert isinstance(items[-1], RejectedRecord)
    assert "breaks off" in items[-1].reason or "not valid JSON" in items[-1].reason


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\x00\x01\x02\x03" * 9, "starts with"), (b"just words\nand more\n", "starts with 'just words'")],
)
def test_a_file_of_no_known_format_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "what.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_posts(path))


def test_an_absent_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_posts(tmp_path / "absent.json"))
    with pytest.raises(InputError, match=r"is a folder; give one file, for example its result\.json"):
        list(read_posts(tmp_path))
