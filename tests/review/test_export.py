"""From a scored file over decisions to a model trained on them, through the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from narratives import taxonomy
from narratives.bundle import ModelBundle
from narratives.errors import InputError
from narratives.records import place_id
from narratives.review.export import export
from narratives.review.server import opened
from narratives.review.store import Choice, Store
from narratives.review.texts import item_of
from narratives.training.corpus import read_corpus, split_corpus
from tests.conftest import ROOT
from tests.review.conftest import LABELS, choice, item, prediction, small, write
from tests.test_cli import narratives


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "d.sqlite")


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_stands_is_exported_as_training_data(store: Store, tmp_path: Path) -> None:
    store.decide("o", "a", "accept", [(item(1), choice(LABELS[0], note="looked up"))])
    store.decide("o", "a", "correct", [(item(2), choice(LABELS[3], LABELS[0], stance="reports", verdict="correct"))])
    store.decide("o", "a", "reject", [(item(3), choice())])
    store.decide("o", "a", "skip", [(item(4), choice(LABELS[0], verdict="skip"))])
    store.decide("o", "a", "accept", [(item(5), choice(LABELS[0]))])
    store.decide("o", "b", "reject", [(item(5), choice())])
    store.decide("o", "a", "accept", [(item(6), choice(LABELS[0]))])
    store.undo("o", "a")
    done = export(store.path, tmp_path / "x.jsonl")
    assert (done.n_posts, done.n_corrected, done.n_disagreements, done.n_open) == (3, 2, 1, 1)
    found = rows(tmp_path / "x.jsonl")
    assert [(row["id"], row["labels"], row["stance"]) for row in found] == [
        ("1", [LABELS[0]], "endorses"), ("2", [LABELS[3], LABELS[0]], "reports"), ("3", [], None),
    ]  # fmt: skip
    assert found[0]["note"] == "looked up"
    posts = read_corpus(tmp_path / "x.jsonl", taxonomy.load("kazakhstan"))
    assert [(post.labels, post.stance) for post in posts][2] == ((), None)


def test_reposts_are_one_post_and_with_copies_one_group(store: Store, tmp_path: Path) -> None:
    copies = [(item(row, cluster=1, text="Одно и то же."), choice(LABELS[0], seen=row == 2)) for row in (1, 2, 3)]
    store.decide("o", "a", "accept", copies)
    assert export(store.path, tmp_path / "one.jsonl").n_copies == 2
    assert [row["id"] for row in rows(tmp_path / "one.jsonl")] == ["2"]
    assert export(store.path, tmp_path / "all.jsonl", copies=True).n_posts == 3
    assert len({row["group"] for row in rows(tmp_path / "all.jsonl")}) == 1


@pytest.mark.parametrize(("before", "after"), [("a", "b"), ("b", "a")])
def test_of_equal_posts_the_version_in_which_one_was_decided_on_last_is_written(
    store: Store, tmp_path: Path, before: str, after: str
) -> None:
    first, second = (replace(item(row, text="То же."), post_id=place_id(row + 1)) for row in (0, 1))
    store.decide(before, "a", "accept", [(first, choice(LABELS[0]))])
    store.decide(after, "a", "accept", [(first, choice(LABELS[1]))])
    store.decide(before, "a", "accept", [(second, choice(LABELS[2]))])
    export(store.path, tmp_path / "x.jsonl")
    assert [row["labels"] for row in rows(tmp_path / "x.jsonl")] == [[LABELS[0]], [LABELS[2]]]


def test_nothing_to_export_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d.sqlite: has no decision that stands; review some posts first"):
        export(store.path, tmp_path / "x.jsonl")
    with pytest.raises(InputError, match=r"absent.sqlite: no such file; `narratives review` writes it beside"):
        export(tmp_path / "absent.sqlite", tmp_path / "x.jsonl")
    assert not (tmp_path / "absent.sqlite").exists()
    (tmp_path / "there.jsonl").write_text("precious")
    with pytest.raises(InputError, match="exists; choose another name or pass --overwrite"):
        export(store.path, tmp_path / "there.jsonl")


def test_score_review_export_train(tmp_path: Path, corpus_file: Path, taxonomy_file: Path, linear_bundle: ModelBundle) -> None:
    """The whole loop: the export of a review goes into scripts/train.py as it is, and gives a model that scores."""
    scored, model = tmp_path / "out.parquet", tmp_path / "again"
    narratives("score", corpus_file, "-o", scored, "--model", str(linear_bundle.path))
    truth = {row["id"]: row for row in rows(corpus_file)}
    with opened(scored, taxonomy=str(taxonomy_file)) as index:
        posts = index.posts(range(index.n_posts))
        for post in posts:
            known = truth[str(post["id"])]
            chosen = Choice("correct", tuple(known["labels"]), known["stance"])  # type: ignore[arg-type]
            kept = item_of(post, int(str(post["row"])), index.scored.label_ids)
            index.store.decide(index.scored.digest, "a", "correct", [(kept, chosen)])
    done = narratives("export", tmp_path / "out.decisions.sqlite", "-o", tmp_path / "corrected.jsonl")
    assert "180 posts, " in done.stdout
    split = split_corpus(
        read_corpus(tmp_path / "corrected.jsonl", taxonomy.load(taxonomy_file)), taxonomy.load(taxonomy_file), validation_share=0.2, seed=0
    )
    assert split.train
    assert split.test
    command = [sys.executable, "scripts/train.py", "--data", tmp_path / "corrected.jsonl", "--labels", taxonomy_file,
               "--base-model", "linear", "-o", model]  # fmt: skip
    trained = subprocess.run(list(map(str, command)), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    narratives("score", corpus_file, "-o", tmp_path / "second.parquet", "--model", str(model))
    labels = pq.read_table(tmp_path / "second.parquet")["labels"].to_pylist()
    right = sum(set(found) == set(row["labels"]) for found, row in zip(labels, truth.values(), strict=True))  # type: ignore[call-overload]
    assert right > 0.9 * len(truth)


def test_the_command_prints_a_link_that_works_and_stops_on_interrupt(output: Path) -> None:
    code = "from narratives.cli import main; main()"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-c", code, "review", str(output), "--reviewer", "a"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    try:
        assert running.stdout is not None
        first, second = running.stdout.readline(), running.stdout.readline()
        link = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{43}", first)
        assert link, first
        assert str(output.with_name("out.decisions.sqlite")) in second
        jar = urllib.request.HTTPCookieProcessor()
        with urllib.request.build_opener(jar).open(link.group()) as page:
            assert "out.parquet" in page.read().decode()
    finally:
        running.send_signal(signal.SIGINT)
    assert running.wait(timeout=20) in {0, 130, -signal.SIGINT}


def test_the_command_tells_what_became_of_decisions_on_another_version(tmp_path: Path) -> None:
    path = write(tmp_path / "out.parquet", small())
    with opened(path) as index:
        items = [item_of(post, int(str(post["row"])), LABELS) for post in index.posts([1, 2, 3])]
        index.store.decide(index.scored.digest, "a", "bulk reject", [(one, choice()) for one in items])
    write(path, [prediction(2, label=2, text="Исправлено."), *small()[3:]])
    command = [sys.executable, "-u", "-c", "from narratives.cli import main; main()", "review", str(path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(4)]
    finally:
        running.kill()
        running.wait(timeout=20)
    told = " ".join(" ".join(lines[2:]).split())
    assert told == (
        "decided posts taken over from another version of out.parquet: 1 "
        "decided posts not shown: 1 not in it any more, 1 with another text; `narratives export` writes them too"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["review", "absent.parquet"], "absent.parquet: no such file"),
        (["export", "absent.sqlite", "-o", "{tmp}/x.jsonl"], "absent.sqlite: no such file; `narratives review` writes it beside"),
        (["export", "absent.sqlite", "-o", "{tmp}/x.csv"], "output 'x.csv': unknown ending '.csv'; known: .jsonl, .ndjson"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = narratives(*[a.format(tmp=tmp_path) for a in arguments], check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
