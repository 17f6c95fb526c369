import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from narratives.errors import InputError
from narratives.readers import read_posts
from narratives.readers.fields import PRIVATE
from narratives.records import Post, RejectedRecord


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def posts(path: Path, **options: str) -> list[Post]:
    return [item for item in read_posts(path, **options) if isinstance(item, Post)]  # type: ignore[arg-type]


def test_4cat_csv_columns_are_understood(tmp_path: Path) -> None:
    header = "id,thread_id,chat,author,author_username,body,is_reply,views,reactions,timestamp,unix_timestamp,author_forwarded_from_name"
    header += ",unix_timestamp_forwarded_from"
    path = write(
        tmp_path / "4cat.csv",
        header + "\n5,c,kanal,Имя Фамилия,user,Текст поста,no,1200,,2023-10-06 09:12:31,1696583551,Источник,1696500000\n",
    )
    [post] = posts(path)
    assert (post.text, post.channel, post.views, post.forwarded_from) == ("Текст поста", "kanal", 1200, PRIVATE)
    assert post.published_at is not None
    assert post.published_at.isoformat() == "2023-10-06T09:12:31+00:00"
    assert post.forwarded_at == datetime(2023, 10, 5, 10, 0, tzinfo=UTC)
    assert post.forwards is None


def test_telethon_forwards_keep_channels_and_hide_people(tmp_path: Path) -> None:
    base = {"_": "Message", "peer_id": {"channel_id": 7}, "date": "2023-10-06T09:12:31+00:00", "message": "т"}
    rows = [
        {**base, "id": 1, "fwd_from": {"from_id": {"channel_id": 99}, "date": "2023-10-05T10:00:00+00:00"}},
        {**base, "id": 2, "fwd_from": {"from_id": {"user_id": 5}, "from_name": "Имя", "date": 1696500000}},
        {**base, "id": 3, "fwd_from": None, "_chat": {"username": "kanal"}},
    ]
    found = posts(write(tmp_path / "a.ndjson", "".join(json.dumps(r) + "\n" for r in rows)))
    assert [p.forwarded_from for p in found] == ["channel99", PRIVATE, None]
    assert [p.forwarded_at for p in found] == [datetime(2023, 10, 5, 10, 0, tzinfo=UTC)] * 2 + [None]
    assert found[2].url == "https://t.me/kanal/3"


@pytest.mark.parametrize(
    "chat",
    [
        {"_chat": {"_": "User", "username": "ivan_ivanov", "first_name": "Иван"}},
        {"chat": {"username": "ivan_ivanov", "first_name": "Иван"}, "peer_id": {"user_id": 555}},
        {"_chat": {"username": "ivan_ivanov"}, "peer_id": {"_": "PeerUser", "user_id": 555}},
        {"peer_id": {"user_id": 555}},
    ],
    ids=["class", "first name", "peer", "peer alone"],
)
def test_a_telethon_chat_with_a_person_does_not_give_the_person_away(tmp_path: Path, chat: dict[str, object]) -> None:
    row = {"_": "Message", "id": 3, "date": "2023-10-06T09:12:31+00:00", "message": "т", **chat}
    [post] = posts(write(tmp_path / "a.ndjson", json.dumps(row) + "\n"))
    assert (post.channel, post.url, post.id) == (PRIVATE, None, "3")
    assert not any(word in repr(post) for word in ("ivan", "Иван", "555"))


def test_a_telethon_forward_of_a_user_is_not_named_though_its_entity_is_there(tmp_path: Path) -> None:
    row = {"_": "Message", "id": 3, "peer_id": {"channel_id": 7}, "message": "т", "fwd_from": {"from_id": {"user_id": 5}}}
    rows = [
        row | {"_forward": {"_chat": {"_": "User", "username": "ivan_ivanov"}}},
        row | {"_forward": {"username": "ivan_ivanov"}},
        row | {"fwd_from": {"from_id": {"channel_id": 9}}, "_forward": {"_chat": {"_": "Channel", "title": "Источник"}}},
    ]
    found = posts(write(tmp_path / "a.ndjson", "".join(json.dumps(r) + "\n" for r in rows)))
    assert [p.forwarded_from for p in found] == [PRIVATE, PRIVATE, "Источник"]


def test_a_column_of_display_names_says_only_that_there_is_a_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text,author_forwarded_from_username,Fwd From Name\n1,а,kanal,Канал\n2,б,,Иван Иванов\n3,в,,\n")
    assert [p.forwarded_from for p in posts(path)] == ["kanal", PRIVATE, None]


def test_a_vk_repost_without_words_counts_as_what_it_reposts(tmp_path: Path) -> None:
    item = {
        "id": 1,
        "owner_id": -7,
        "from_id": 44,
        "date": 1696583551,
        "text": "",
        "copy_history": [{"owner_id": 123, "text": "Чужой текст", "date": 1696500000}],
    }
    [post] = posts(write(tmp_path / "wall.json", json.dumps({"count": 1, "items": [item]})))
    assert post.forwarded_at == datetime(2023, 10, 5, 10, 0, tzinfo=UTC)
    assert (post.text, post.forwarded_from, post.url) == ("Чужой текст", PRIVATE, "https://vk.com/wall-7_1")


def test_a_persons_vk_wall_does_not_give_the_person_away(tmp_path: Path) -> None:
    item = {"id": 1, "owner_id": 555, "from_id": 555, "date": 1696583551, "text": "Слова", "likes": {"count": 1}}
    [post] = posts(write(tmp_path / "wall.json", json.dumps([item])))
    assert "555" not in repr(post)


def test_a_text_column_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "nr;слова\n1;да\n")
    with pytest.raises(InputError, match="no text column; found nr, слова, looked for text, message"):
        posts(path)
    assert posts(path, text_column="слова")[0].text == "да"
    with pytest.raises(InputError, match=r"no column 'x'; found nr, слова\. Pass --text-column"):
        posts(path, text_column="x")


def test_bad_rows_keep_place_and_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '{"id": 1, "text": "да"}\n{"id": 2}\nчто это\n\n{"id": 3, "text": 5}\n{"id": 4, "text": "нет", "views": "много"}\n',
    )
    items = list(read_posts(path))
    rejected = [item for item in items if isinstance(item, RejectedRecord)]
    assert [(r.line, r.post_kept) for r in rejected] == [(2, False), (3, False), (5, False), (6, True)]
    assert rejected[0].reason.startswith("no text column; found id")
    assert rejected[1].reason.startswith("not valid JSON")
    assert rejected[2].reason == "holds int, expected text"
    assert "'много' is not a count" in rejected[3].reason
    assert [p.text for p in items if isinstance(p, Post)] == ["да", "нет"]


def test_csv_rows_with_too_many_fields_are_rejected_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,да\n2,раз,два,три\n3,нет\n")
    items = list(read_posts(path))
    assert [p.text for p in items if isinstance(p, Post)] == ["да", "нет"]
    [bad] = [item for item in items if isinstance(item, RejectedRecord)]
    assert bad.line == 3
    assert "has 4 fields, expected 2 as in the header" in bad.reason


def test_a_line_of_20_mb_is_rejected_and_the_next_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "до"}\n{"text": "' + "x" * 20_000_000 + '"}\n{"text": "после"}\n')
    items = list(read_posts(path))
    assert [p.text for p in items if isinstance(p, Post)] == ["до", "после"]
    [bad] = [item for item in items if isinstance(item, RejectedRecord)]
    assert "longer than" in bad.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1 200", 1200), ("1.2K", 1200), ("3 тыс", None), (-5, None), ("0", 0), (7.0, 7), ("", None)],
)
def test_counts_in_their_usual_spellings(tmp_path: Path, value: object, expected: int | None) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "т", "views": value}) + "\n")
    assert posts(path)[0].views == expected


def test_outputs_of_a_job_can_be_read_again(tmp_path: Path) -> None:
    row = {"id": "1", "text": "т", "labels": ["us_biolabs"], "stance": "refutes", "p_us_biolabs": 0.9}
    [post] = posts(write(tmp_path / "out.jsonl", json.dumps(row) + "\n"))
    assert post.labels == ("us_biolabs",)
    assert post.stance == "refutes"


def test_an_unreadable_forward_date_leaves_the_post_and_a_note(tmp_path: Path) -> None:
    row = {"_": "Message", "id": 1, "peer_id": {"channel_id": 7}, "date": 1696583551, "message": "т", "fwd_from": {"date": "вчера"}}
    post, note = read_posts(write(tmp_path / "a.ndjson", json.dumps(row) + "\n"))
    assert isinstance(post, Post) and post.forwarded_at is None
    assert isinstance(note, RejectedRecord) and "'вчера' is not a time" in note.reason


def test_rows_of_all_row_groups_come_in_order_and_a_broken_one_says_its_row(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    texts = [f"Пост {i}" if i != 3333 else None for i in range(5000)]
    pq.write_table(pa.table({"id": [str(i) for i in range(5000)], "text": texts}), path, row_group_size=700)
    found = list(read_posts(path))
    posts = [item for item in found if isinstance(item, Post)]
    assert [post.id for post in posts] == [str(i) for i in range(5000) if texts[i]]
    assert [item.line for item in found if not isinstance(item, Post)] == [3334]
