"""Real posts as posts without a label: which are trained on, and which only count false alarms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from narratives.config import TrainConfig
from narratives.errors import InputError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.background import read_background
from narratives.training.train import train
from tests.conftest import TOML


def dump(path: Path, n_channels: int = 12) -> Path:
    rows = [
        {"id": f"{c}-{i}", "text": f"Новость {i} канала {c}: погода и хлеб", "channel": f"channel-{c}"}
        for c in range(n_channels)
        for i in range(20)
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_a_channel_is_trained_on_or_held_out_never_both(tmp_path: Path) -> None:
    background = read_background([dump(tmp_path / "a.jsonl")], n_posts=40, n_validation=20)
    (name,) = background.held_out
    seen = {p.channel for p in (*background.train, *background.validation)}
    held_out = {p.channel for p in background.held_out[name]}
    assert seen and held_out
    assert not seen & held_out
    assert len(background.train) == 40
    assert len(background.validation) == 20
    assert not {p.id for p in background.train} & {p.id for p in background.validation}


def test_more_posts_move_no_channel(tmp_path: Path) -> None:
    few, many = dump(tmp_path / "few.jsonl", 6), dump(tmp_path / "many.jsonl", 12)
    first = {p.channel for p in next(iter(read_background([few], n_posts=40, n_validation=20).held_out.values()))}
    second = {p.channel for p in next(iter(read_background([many], n_posts=40, n_validation=20).held_out.values()))}
    assert first <= second


def test_copies_count_once_and_every_file_gets_its_share(tmp_path: Path) -> None:
    one, two = dump(tmp_path / "one.jsonl"), tmp_path / "two.txt.jsonl"
    two.write_text('{"text": "Бүгін жаңбыр."}\n' * 50 + '{"text": "Ертең күн ашық."}\nthis is no JSON\n', encoding="utf-8")
    background = read_background([one, two], n_posts=20, n_validation=20)
    texts = [p.text for p in (*background.train, *background.validation, *(p for v in background.held_out.values() for p in v))]
    assert texts.count("Бүгін жаңбыр.") == 1
    assert sum(text.startswith("Новость") for text in (p.text for p in background.train)) == 10


def test_a_file_without_posts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n', encoding="utf-8")
    with pytest.raises(InputError, match="holds no post"):
        read_background([tmp_path / "empty.jsonl"], n_posts=10, n_validation=20)


def test_a_bundle_trained_with_background_says_what_it_flags_there(tmp_path: Path, posts: list[Post], weather: Taxonomy) -> None:
    bundle = train(
        posts,
        weather,
        TOML,
        tmp_path / "bundle",
        config=TrainConfig(base_model="linear", background_posts=60),
        background=[dump(tmp_path / "a.jsonl")],
    )
    (found,) = bundle.metrics["background"]["held_out"].values()
    assert bundle.metrics["background"]["n_train"] == 60
    assert found["n_posts"] > 0
    assert 0 <= found["n_endorses"] <= found["n_flagged"] <= found["n_posts"]
    assert f"{found['n_flagged']} of {found['n_posts']}" in bundle.card
