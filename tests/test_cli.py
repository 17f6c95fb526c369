"""Journeys through the real command line, on real files, without a network."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from narratives.bundle import ModelBundle
from narratives.cli import app
from tests.conftest import ROOT


def narratives(*arguments: str | Path, stdin: str = "", check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from narratives.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, env={**os.environ, **environment}, cwd=ROOT)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.csv"
    path.write_text('id,body\n1,"Точно говорю: дорога, льёт дождь вчера вечером."\n2,Рынок открыт для всех в пятницу.\n', encoding="utf-8")
    return path


def test_score_writes_rows_rejects_and_manifest(tmp_path: Path, dump: Path, linear_bundle: ModelBundle) -> None:
    done = narratives("score", dump, "-o", tmp_path / "out.csv", "--model", str(linear_bundle.path))
    assert "2 posts, 1 flagged (50.0%)" in done.stdout
    assert str(tmp_path / "out.csv") in done.stdout
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["labels"] for row in rows] == ["rain", ""]
    assert (tmp_path / "out.rejected.jsonl").exists()
    assert json.loads((tmp_path / "out.manifest.json").read_text("utf-8"))["counts"]["n_posts"] == 2


def test_piped_output_is_plain(tmp_path: Path, dump: Path, linear_bundle: ModelBundle) -> None:
    done = narratives("score", dump, "-o", tmp_path / "out.csv", "--model", str(linear_bundle.path))
    assert "\x1b[" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "absent.json", "-o", "{tmp}/o.parquet"], "absent.json: no such file"),
        (["score", "{dump}", "-o", "{tmp}/o.docx"], r"output 'o.docx': unknown ending '.docx'; known: .parquet"),
        (["score", "{dump}", "-o", "{tmp}/o.csv", "--labels", "rian"], "unknown label 'rian'; known: rain, snow. Did you mean 'rain'?"),
        (["score", "{dump}", "-o", "{tmp}/o.csv", "--format", "jsnol"], "unknown format 'jsnol'"),
        (["score", "{dump}", "-o", "{tmp}/o.csv", "--text-column", "txt"], "no column 'txt'; found id, body"),
        (["predict", "да", "--model", "absent-model"], "no such folder, and no bundle of that name is shipped"),
        (["labels", "--taxonomy", "absent.toml"], "absent.toml: no such file; expected a taxonomy in TOML"),
        (["train", "--data", "{dump}", "--set", "epoch=3"], "--set 'epoch=3': expected NAME=VALUE"),
        (["train", "--data", "{tmp}", "-o", "{tmp}/m"], "holds no *.jsonl file"),
        (["train", "--data", "{dump}"], "-o is missing; expected the new bundle's folder: without it, models/kazakhstan-e5-small"),
        (["train", "--base-model", "linear"], "-o is missing; expected the new bundle's folder"),
    ],
)
def test_a_users_error_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, dump: Path, linear_bundle: ModelBundle, arguments: list[str], message: str
) -> None:
    given = [a.format(tmp=tmp_path, dump=dump) for a in arguments]
    if given[0] == "score":
        given += ["--model", str(linear_bundle.path)]
    done = narratives(*given, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("narratives: ")
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_predict_shows_label_stance_and_sentence(linear_bundle: ModelBundle) -> None:
    done = narratives("predict", "Точно говорю: дорога, льёт дождь вчера вечером.", "Рынок открыт", "--model", str(linear_bundle.path))
    first, sentence, second = done.stdout.splitlines()
    assert re.match(r"rain 0\.\d\d; endorses [01]\.\d\d \[ru\]", first)
    assert sentence == "  rain 1.00: Точно говорю: дорога, льёт дождь вчера вечером."
    assert second.startswith("no narrative (most probable: ")


def test_predict_reads_standard_input_and_gives_json(linear_bundle: ModelBundle) -> None:
    done = narratives("predict", "-", "--json", "--model", str(linear_bundle.path), stdin="Точно говорю: дорога, льёт дождь вчера вечером.")
    value = json.loads(done.stdout)
    assert value["labels"] == ["rain"]
    assert value["probabilities"].keys() == {"rain", "snow"}


def test_escape_codes_in_a_post_do_not_reach_the_terminal(linear_bundle: ModelBundle) -> None:
    done = narratives("predict", "Точно говорю: дорога, \x1b[31mльёт дождь\x1b[0m вчера вечером.", "--model", str(linear_bundle.path))
    assert "\x1b" not in done.stdout


def test_escape_codes_in_a_columns_name_do_not_reach_the_terminal(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    (tmp_path / "in.csv").write_text("id,\x1b]0;title\x07\x1b[2Jслова\n1,да\n", "utf-8")
    done = narratives("score", tmp_path / "in.csv", "-o", tmp_path / "o.csv", "--model", str(linear_bundle.path), check=False)
    assert done.returncode == 2
    assert "no text column; found id, " in done.stderr
    assert not set("\x1b\x07") & set(done.stderr)


@pytest.mark.parametrize("language", ["en", "ru", "kk"])
def test_labels_lists_ids_and_definitions(language: str) -> None:
    done = narratives("labels", "--language", language)
    assert "us_nato_conflation" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line and not line.startswith(" ")]) == 10


def test_version_and_help_answer() -> None:
    assert re.fullmatch(r"narratives \d+\.\d+\.\d+\n", narratives("--version").stdout)
    for command in ("score", "predict", "labels", "train", "evaluate"):
        assert command in narratives("--help").stdout
        assert len(narratives(command, "--help").stdout) > 300


def test_train_then_evaluate_then_score(tmp_path: Path, corpus_file: Path, taxonomy_file: Path) -> None:
    model = tmp_path / "model"
    trained = narratives("train", "--data", corpus_file, "--labels", taxonomy_file, "--base-model", "linear", "-o", model)
    assert "labels  macro-F1" in trained.stdout
    measured = narratives("evaluate", "--data", corpus_file, "--model", model, "-o", tmp_path / "figures.json")
    value = json.loads((tmp_path / "figures.json").read_text("utf-8"))["all"]["labels_macro_f1"]["value"]
    assert f"{value:.3f} [" in measured.stdout
    assert f"{value:.3f} [" in trained.stdout
    narratives("score", corpus_file, "-o", tmp_path / "out.parquet", "--model", model)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 180
    assert f"--data {corpus_file} --labels {taxonomy_file}" in (model / "README.md").read_text("utf-8")


def test_corpus_check_counts_and_names_problems(tmp_path: Path, corpus_file: Path, taxonomy_file: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"id": "1"}\n')
    done = narratives("corpus", "check", tmp_path, "--labels", taxonomy_file, check=False)
    assert done.returncode == 2
    assert "bad.jsonl:1: fields ['id'], expected" in done.stderr
    assert "1 problems in" in done.stderr


def test_every_option_is_explained() -> None:
    import typer

    group = typer.main.get_command(app)
    commands = [*group.commands.values(), *group.commands["corpus"].commands.values()]  # type: ignore[attr-defined]
    for command in commands:
        assert command.help, command.name
        for parameter in command.params:
            if parameter.name != "help":
                assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"


# ---- the shipped bundle on the shipped sample --------------------------------------------------------------------------


def test_the_sample_dump_is_scored_by_the_shipped_bundle(tmp_path: Path, sample_dump: Path) -> None:
    done = narratives("score", sample_dump, "-o", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows > 100
    flagged = [row for row in table.to_pylist() if row["labels"]]
    assert 10 <= len(flagged) <= 60
    for row in flagged:
        assert row["stance"] in {"endorses", "reports", "refutes"}
        assert {e["label"] for e in row["evidence"]} == set(row["labels"])
        assert all(row["text"][e["start"] : e["end"]] == e["text"] for e in row["evidence"])
    assert {"ru", "kk"} <= set(table["language"].to_pylist())
    assert "not readable" not in done.stdout
    assert (tmp_path / "out.rejected.jsonl").read_text() == ""


def test_scoring_opens_no_connection(tmp_path: Path, sample_dump: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse; socket.create_connection = refuse; socket.getaddrinfo = refuse\n"
        f"sys.argv = ['narratives', 'score', {str(sample_dump)!r}, '-o', {str(tmp_path / 'o.jsonl')!r}]\n"
        "from narratives.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.jsonl").exists()
