"""Hostile and broken files, for every reader: posts and rejected records come out, or an `InputError`; memory stays bounded."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from narratives import plugins
from narratives.errors import InputError
from narratives.parts import rejected_line
from narratives.readers import read_posts, source
from narratives.records import Post, Prediction, RejectedRecord
from narratives.writers.table import to_batch
from tests.readers.test_contract import MAKERS

READERS = sorted(plugins.READERS)


def fit_for_every_output(items: Iterable[Post | RejectedRecord]) -> None:
    """What a writer would meet: Arrow takes each post, a line of JSON each rejected record."""
    posts = []
    for item in items:
        if isinstance(item, Post):
            posts.append(item)
        else:
            assert json.loads(rejected_line(item))["reason"]
    to_batch([Prediction(post, (), {}, None, {}) for post in posts], ())


def read(path: Path, reader: str) -> list[Post | RejectedRecord]:
    items = list(read_posts(path, format=reader))
    fit_for_every_output(items)
    return items


def texts(items: Iterable[Post | RejectedRecord]) -> list[str]:
    return [item.text for item in items if isinstance(item, Post)]


# ---- any bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_gives_posts_rejected_records_or_an_input_error(tmp_path: Path, reader: str) -> None:
    make, name = MAKERS[reader]
    make(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    path = tmp_path / "damaged"
    pieces = st.sampled_from([*rb'{ } [ ] " \ \ud800 , : 1e999'.split(), b"\n", b"\r", b"\0", b"\xff", b""])

    @given(
        edits=st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 40), pieces | st.binary(max_size=12)), max_size=6),
        pack=st.sampled_from([bytes, gzip.compress, zstandard.compress, lambda data: gzip.compress(data)[:-9]]),
    )
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def damage(edits: list[tuple[int, int, bytes]], pack: Callable[[bytes], bytes]) -> None:
        data = whole
        for at, n_lost, put in edits:
            data = data[:at] + put + data[at + n_lost :]
        path.write_bytes(pack(data))
        with contextlib.suppress(InputError):
            read(path, reader)

    damage()


@pytest.mark.parametrize("reader", READERS)
def test_any_text_comes_through_whole(tmp_path: Path, reader: str) -> None:
    """Written as the format's own programs write it: quotes, line breaks, NUL, look-alikes and every plane of Unicode."""
    path = tmp_path / "posts"

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=6))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def written(wanted: list[str]) -> None:
        if reader == "csv":
            # A bare carriage return ends a line of CSV for half of the programs that write it; NUL ends a cell for some.
            wanted = [text.replace("\r", " ").replace("\0", " ") for text in wanted]
        path.write_bytes(WRITERS[reader](wanted))
        assert texts(read(path, reader)) == wanted

    written()


def _lines(rows: Iterable[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _csv(wanted: list[str]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *([str(i), text] for i, text in enumerate(wanted))])
    return stream.getvalue().encode("utf-8-sig")


def _parquet(wanted: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": pa.array(wanted, pa.string())}), sink)
    return sink.getvalue().to_pybytes()


WRITERS: dict[str, Callable[[list[str]], bytes]] = {
    "telegram_desktop": lambda wanted: json.dumps(
        {"name": "к", "type": "public_channel", "id": 7, "messages": [{"id": i, "text": t} for i, t in enumerate(wanted)]},
        ensure_ascii=False,
        indent=1,
    ).encode(),
    "telethon": lambda wanted: _lines({"_": "Message", "id": i, "peer_id": {"channel_id": 7}, "message": t} for i, t in enumerate(wanted)),
    "vk": lambda wanted: json.dumps(
        {"response": {"items": [{"id": i, "owner_id": -7, "from_id": 1, "text": t} for i, t in enumerate(wanted)]}}, ensure_ascii=False
    ).encode(),
    "csv": _csv,
    "jsonl": lambda wanted: _lines({"id": i, "text": t} for i, t in enumerate(wanted)),
    "parquet": _parquet,
}  # fmt: skip


@pytest.mark.parametrize("reader", [name for name in READERS if name != "parquet"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_gzip_that_breaks_off_keeps_what_was_read(tmp_path: Path, reader: str, kept: float) -> None:
    wanted = [f"пост номер {i} " * 20 for i in range(3000)]
    packed = gzip.compress(WRITERS[reader](wanted))
    path = tmp_path / "posts.gz"
    path.write_bytes(packed[: int(kept * len(packed))])
    items = read(path, reader)
    found = texts(items)
    assert len(found) > 0.7 * kept * len(wanted)
    assert found == wanted[: len(found)]
    assert isinstance(items[-1], RejectedRecord)


def test_a_parquet_that_breaks_off_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(_parquet(["пост"] * 500)[:-20])
    with pytest.raises(InputError, match="is no readable Parquet file"):
        read(tmp_path / "p.parquet", "parquet")


# ---- what fills memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [name for name in READERS if name != "parquet"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_decompression_bomb_is_not_read_to_its_end(
    tmp_path: Path, reader: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_BOMB_BYTES", 4 * 2**20)
    monkeypatch.setattr(source, "MAX_EXPANSION", 500)
    wanted = ["один", "два"]
    path = tmp_path / "bomb"
    whole = WRITERS[reader](wanted)
    # After two posts, white space without end inside the array, or after the lines.
    end = whole.rindex(b"]") if reader in {"telegram_desktop", "vk"} else len(whole)
    path.write_bytes(pack(whole[:end] + b" " * 60 * 2**20 + whole[end:]))
    items = read(path, reader)
    assert texts(items) == wanted
    [told] = [item for item in items if isinstance(item, RejectedRecord)]
    assert "the compressed file breaks off: it expands to more than 500 times its size, which no dump does" in told.reason


MEASURE = r"""
import re, sys
from pathlib import Path
from narratives.readers import read_posts
from narratives.records import Post
import narratives.readers.telegram_desktop, narratives.readers.delimited
def peak():  # of this program alone: ru_maxrss begins with what the process that started it had
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
before, n_posts, n_items = peak(), 0, 0
for item in read_posts(Path(sys.argv[1]), format=sys.argv[2]):
    n_posts, n_items = n_posts + isinstance(item, Post), n_items + 1
print(n_posts, n_items, (peak() - before) // 1024)
"""


@pytest.mark.parametrize(
    ("reader", "head", "unit", "tail", "encoding"),
    [
        ("jsonl", '{"text": "да"}\n{"text": "', "а", '"}\n{"text": "нет"}\n', "utf-8"),
        ("csv", "id,text\n1,да\n2,", "б", "\n3,нет\n", "utf-8"),
        ("csv", "id,text\n1,да\n2,", "в", "\n3,нет\n", "utf-16"),
        ("csv", 'id,text\n1,да\n2,"', "г\n" * 100, '"\n3,нет\n', "utf-8"),
        ("telegram_desktop", '{"messages": [{"id": 1, "text": "да"}, {"id": 2, "text": "', "д", '"}, {"id": 3, "text": "нет"}]}', "utf-8"),
        ("telegram_desktop", '{"messages": [{"id": 1, "text": "да"}, {"id": 2, "text": ', "[", "", "utf-8"),
        ("telegram_desktop", '{"a": ', "[", ', "messages": [{"id": 1, "text": "да"}]}', "utf-8"),
        ("jsonl", "[", '{"a":', "", "utf-8"),
    ],
)
def test_an_endless_line_or_nesting_does_not_fill_memory(
    tmp_path: Path, reader: str, head: str, unit: str, tail: str, encoding: str
) -> None:
    """200 MB in one line or one record; 8 MB of brackets that never close (20 MB were 1.3 GB of stack) or of lines in a quoted cell."""
    path = tmp_path / "posts"
    n_bytes = 8 * 2**20 if unit[0] in "[{" or "\n" in unit else 200 * 2**20
    with path.open("wb") as stream:
        stream.write(head.encode(encoding))
        block = (unit * (2**20 // len(unit))).encode(encoding).removeprefix(b"\xff\xfe")
        for _ in range(n_bytes // len(block)):
            stream.write(block)
        stream.write(tail.encode(encoding).removeprefix(b"\xff\xfe"))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path), reader], capture_output=True, text=True)
    path.unlink()
    if "no posts" in done.stderr or "InputError" in done.stderr:
        assert unit == '{"a":', done.stderr
        return
    assert not done.stderr, done.stderr
    n_posts, n_items, megabytes = map(int, done.stdout.split())
    # Brackets that never close swallow what stands behind them.
    expected = 0 if head.startswith('{"a"') else 2 if "нет" in tail else 1
    assert n_posts == expected or "\n" in unit
    assert n_items > n_posts or unit == "["
    assert megabytes < 250


@pytest.mark.parametrize("reader", ["telegram_desktop", "jsonl", "telethon", "vk"])
def test_a_record_nested_too_deeply_is_rejected_alone(tmp_path: Path, reader: str) -> None:
    whole = WRITERS[reader](["раз", "глубоко", "три"]).decode()
    deep = '"глубоко", "reply": ' + '{"a": [' * 50_000 + "]}" * 50_000
    (tmp_path / "posts").write_text(whole.replace('"глубоко"', deep).replace(json.dumps("глубоко"), deep), "utf-8")
    items = read(tmp_path / "posts", reader)
    assert texts(items) == ["раз", "три"]
    [bad] = [item for item in items if isinstance(item, RejectedRecord)]
    assert "nested too deeply" in bad.reason
    assert len(bad.record) <= RejectedRecord.MAX_RECORD_CHARACTERS


# ---- what is inside -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["telegram_desktop", "telethon", "vk", "jsonl"])
def test_lone_surrogates_are_replaced_in_every_field(tmp_path: Path, reader: str) -> None:
    bad = "\\ud800"
    rows = {
        "telegram_desktop": f'{{"name": "{bad}", "type": "public_channel", "id": "{bad}", "messages": [{{"id": "{bad}", "text": "а{bad}", '
        f'"forwarded_from": "{bad}", "forwarded_from_id": "channel{bad}"}}]}}',
        "telethon": f'{{"_": "Message", "id": "{bad}", "peer_id": {{"channel_id": "{bad}"}}, "message": "а{bad}", "_chat": '
        f'{{"username": "{bad}"}}, "fwd_from": {{"from_id": {{"channel_id": "{bad}"}}}}}}',
        "vk": f'[{{"id": "{bad}", "owner_id": -7, "from_id": 1, "text": "а{bad}"}}]',
        "jsonl": f'{{"id": "{bad}", "text": "а{bad}", "channel": "{bad}", "url": "{bad}", "labels": ["{bad}"], "views": "{bad}"}}',
    }
    (tmp_path / "posts").write_text(rows[reader], "utf-8")
    assert texts(read(tmp_path / "posts", reader)) == ["а\ufffd"]


@pytest.mark.parametrize("reader", [name for name in READERS if name != "parquet"])
def test_bytes_that_are_no_utf8_and_nul_cost_only_themselves(tmp_path: Path, reader: str) -> None:
    whole = WRITERS[reader](["Бұл бірінші жазба", "XX", "Бұл үшінші жазба"])
    (tmp_path / "posts").write_bytes(whole.replace(b"XX", b"\xff\xc3\x28 \x00"))
    found = texts(read(tmp_path / "posts", reader))
    assert [found[0], found[2]] == ["Бұл бірінші жазба", "Бұл үшінші жазба"]
    assert "\ufffd" in found[1]


@pytest.mark.parametrize(
    "when",
    [
        "0000-00-00T00:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        10**18,
        -(10**18),
        1e308,
        "-62135596801",
        {},
    ],
)
@pytest.mark.parametrize("reader", ["telegram_desktop", "telethon", "vk", "jsonl"])
def test_a_time_outside_the_calendar_leaves_the_post_without_one(tmp_path: Path, reader: str, when: object) -> None:
    row: dict[str, object] = {"id": 1, "date": when, "text": "да", "message": "да", "owner_id": -7, "from_id": 1}
    (tmp_path / "posts").write_text(json.dumps({"messages": [row]} if reader == "telegram_desktop" else row), "utf-8")
    post, note = read(tmp_path / "posts", reader)
    assert isinstance(post, Post)
    assert post.published_at is None
    assert isinstance(note, RejectedRecord)
    assert note.post_kept
    assert "the post is kept without it" in note.reason


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"])
def test_the_first_and_the_last_year_are_kept(tmp_path: Path, when: str) -> None:
    (tmp_path / "posts").write_text(json.dumps({"text": "да", "date": when}), "utf-8")
    [post] = read(tmp_path / "posts", "jsonl")
    assert isinstance(post, Post)
    assert post.published_at == datetime.fromisoformat(when).astimezone(UTC)
    batch = to_batch([Prediction(post, (), {}, None, {})], ())
    assert batch.to_pylist()[0]["published_at"] == post.published_at


@pytest.mark.parametrize("reader", READERS)
def test_ids_that_repeat_are_all_kept(tmp_path: Path, reader: str) -> None:
    make, name = MAKERS[reader]
    make(tmp_path / name)
    once = read(tmp_path / name, reader)
    if reader == "parquet":
        table = pq.read_table(tmp_path / name)
        pq.write_table(pa.concat_tables([table, table]), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(WRITERS[reader](["раз", "два"]).replace(b'"id": 1', b'"id": 0').replace(b'"1"', b'"0"'))
    twice = read(tmp_path / name, reader)
    ids = [item.id for item in twice if isinstance(item, Post)]
    assert len(ids) == (2 * len(once) if reader == "parquet" else 2)
    assert len(set(ids)) < len(ids)


# ---- findings of benchmarks/fuzz_readers.py ------------------------------------------------------------------------------


def test_a_header_that_is_no_csv_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"id,text\r\r\rid\n1,2\n")
    with pytest.raises(InputError, match="its first line is no CSV header: new-line character seen in unquoted field"):
        read(tmp_path / "p.csv", "csv")


def test_a_parquet_with_a_column_name_that_is_no_utf8_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(_parquet(["пост"]).replace(b"text", b"vi\x00\xb7"))
    with pytest.raises(InputError):
        read(tmp_path / "p.parquet", "parquet")


def test_text_in_a_parquet_that_is_no_utf8_is_mended(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    column = pa.array(["да".encode(), b"\xd0\xff", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), sink)
    (tmp_path / "p.parquet").write_bytes(sink.getvalue().to_pybytes())
    items = read(tmp_path / "p.parquet", "parquet")
    assert texts(items) == ["да", "\ufffd\ufffd"]
    assert isinstance(items[-1], RejectedRecord)
