import json
from pathlib import Path

import pytest

from narratives.readers import read_posts
from narratives.readers.fields import PRIVATE
from narratives.records import Post, RejectedRecord


def export(messages: list[object], **chat: object) -> str:
    head = {"name": "Хроника", "type": "public_channel", "id": 1234} | chat
    return json.dumps({**head, "messages": messages}, ensure_ascii=False, indent=1)


def message(number: int, text: object = "текст", **more: object) -> dict[str, object]:
    return {
        "id": number,
        "type": "message",
        "date": "2023-10-06T09:00:00",
        "date_unixtime": "1696582800",
        "text": text,
        "text_entities": [],
        **more,
    }


def read(tmp_path: Path, content: str | bytes) -> list[Post | RejectedRecord]:
    path = tmp_path / "result.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_posts(path))


def texts(items: list[Post | RejectedRecord]) -> list[str]:
    return [item.text for item in items if isinstance(item, Post)]


def test_text_in_pieces_is_joined_as_readers_saw_it(tmp_path: Path) -> None:
    pieces = ["Смотрите ", {"type": "bold", "text": "сюда"}, ": ", {"type": "text_link", "text": "тут", "href": "https://example.org"}]
    [post] = read(tmp_path, export([message(5, pieces)]))
    assert isinstance(post, Post)
    assert post.text == "Смотрите сюда: тут"
    assert post.id == "1234_5"
    assert post.channel == "Хроника"


def test_a_full_export_gives_the_posts_of_every_chat(tmp_path: Path) -> None:
    chats = [json.loads(export([message(i)], name=f"чат {i}", id=i)) for i in (1, 2)]
    left = [json.loads(export([message(3)], name="ушли", id=3))]
    items = read(tmp_path, json.dumps({"about": "…", "chats": {"list": chats}, "left_chats": {"list": left}}, ensure_ascii=False, indent=1))
    assert [(p.channel, p.id) for p in items if isinstance(p, Post)] == [("чат 1", "1_1"), ("чат 2", "2_2"), ("ушли", "3_3")]


@pytest.mark.parametrize("kind", ["personal_chat", "bot_chat", "saved_messages", "replies", "verify_codes", None])
def test_a_chat_with_a_person_does_not_give_the_person_away(tmp_path: Path, kind: str | None) -> None:
    chats = [
        json.loads(export([message(1)], name="Иван Иванов", type=kind, id=555)),
        *(json.loads(export([message(2)], name="группа", type=group, id=7)) for group in ("private_group", "private_supergroup")),
    ]
    person, *groups = read(tmp_path, json.dumps({"chats": {"list": chats}}, ensure_ascii=False, indent=1))
    assert isinstance(person, Post)
    assert (person.channel, person.id) == (PRIVATE, "1")
    assert "555" not in repr(person)
    assert [(p.channel, p.id) for p in groups if isinstance(p, Post)] == [("группа", "7_2")] * 2


def test_a_minified_export_is_read_too(tmp_path: Path) -> None:
    content = json.dumps(json.loads(export([message(1), message(2, '{["')])), separators=(",", ":"))
    assert texts(read(tmp_path, content)) == ["текст", '{["']


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ({}, None),
        ({"forwarded_from": "Канал"}, "Канал"),
        ({"forwarded_from": None}, "(unknown)"),
        ({"forwarded_from": "Человек", "forwarded_from_id": "user5"}, PRIVATE),
        ({"forwarded_from": "Канал", "forwarded_from_id": "channel5"}, "Канал"),
    ],
)
def test_the_source_of_a_forward_is_kept_unless_it_is_a_person(tmp_path: Path, forward: dict[str, object], expected: str | None) -> None:
    [post] = read(tmp_path, export([message(1, **forward)]))
    assert isinstance(post, Post)
    assert post.forwarded_from == expected


def test_in_a_private_group_no_source_is_kept(tmp_path: Path) -> None:
    [post] = read(tmp_path, export([message(1, forwarded_from="Человек")], type="private_group"))
    assert isinstance(post, Post)
    assert post.forwarded_from == PRIVATE


def test_known_faults_of_telegram_desktop_are_mended(tmp_path: Path) -> None:
    content = export([message(1, "а@@б"), message(2, reactions=[{"document_id": "X1"}])])
    content = content.replace("@@", "\\x07").replace('"X1"', "(File not included)")
    assert texts(read(tmp_path, content)) == ["а\x07б", "текст"]


def test_broken_messages_cost_only_themselves(tmp_path: Path) -> None:
    whole = export([message(i, f"пост {i}") for i in range(1, 8)])
    broken = whole.replace('"пост 2"', '"пост 2', 1)  # a quote that never closes
    broken = broken.replace('"text": "пост 4"', '"text": {"x": "пост 4"', 1)  # a bracket that never closes
    broken = broken.replace('"text": "пост 6"', '"text": 6', 1)  # no text
    items = read(tmp_path, broken)
    assert {"пост 1", "пост 3", "пост 5", "пост 7"} <= set(texts(items))
    rejected = [item for item in items if isinstance(item, RejectedRecord)]
    assert [r.line for r in rejected] == [2, 4, 6]
    assert "holds int, expected text or a list" in rejected[2].reason
    assert all(f"пост {i}" in r.record or '"text": 6' in r.record for i, r in zip((2, 4, 6), rejected, strict=True))


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    content = export([message(i, f"пост {i}") for i in range(1, 5)])
    items = read(tmp_path, content[: content.index("пост 4")])
    assert texts(items) == ["пост 1", "пост 2", "пост 3"]
    assert isinstance(items[-1], RejectedRecord)
    assert items[-1].reason == "the file ends inside this record"


def test_bad_bytes_surrogates_and_nul_do_not_stop_a_dump(tmp_path: Path) -> None:
    content = export([message(1, "плохо"), message(2, "\ud83d и \x00"), message(3, "цело")]).encode("utf-8", "surrogatepass")
    content = content.replace("плохо".encode(), b"\xff\xfe")
    found = texts(read(tmp_path, content))
    assert found == ["\ufffd\ufffd", "\ufffd и \x00", "цело"] or (len(found) == 3 and found[2] == "цело")


def test_a_message_of_ten_thousand_brackets_is_rejected_alone(tmp_path: Path) -> None:
    content = export([message(1, "до"), message(2, "@@"), message(3, "после")]).replace('"@@"', "[" * 10_000 + "]" * 10_000)
    items = read(tmp_path, content)
    assert texts(items) == ["до", "после"]


def test_an_unreadable_date_is_noted_and_the_post_kept(tmp_path: Path) -> None:
    post, note = read(tmp_path, export([message(1) | {"date_unixtime": "99999999999999999999"}]))
    assert isinstance(post, Post)
    assert post.published_at is None
    assert isinstance(note, RejectedRecord)
    assert note.post_kept
    assert note.field == "date"


def test_records_across_chunk_borders_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from narratives.readers import json_stream

    content = export([message(i, f'пост {i} "в кавычках" \\ {{[' * 3) for i in range(40)])
    expected = texts(read(tmp_path, content))
    assert len(expected) == 40
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(json_stream, "_CHUNK_BYTES", size)
        assert texts(read(tmp_path, content)) == expected
