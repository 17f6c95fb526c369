"""The commands around new labels, run in this process on the linear bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from narratives import taxonomy
from narratives.bundle import ModelBundle
from narratives.cli import app
from narratives.errors import ConfigError, TaxonomyError

RUN = CliRunner()


def run(*arguments: str | Path) -> str:
    done = RUN.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_init_writes_a_taxonomy_that_can_be_read_and_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert "narratives rank DUMP" in run("init", path, "--labels", "floods,power_cuts")
    made = taxonomy.load(path)
    assert made.ids == ("floods", "power_cuts")
    assert made["power_cuts"].name() == "power cuts"
    with pytest.raises(ConfigError, match="exists; choose another name"):
        run("init", path)
    with pytest.raises(TaxonomyError, match="label id 'Power Cuts'; expected lower-case letters"):
        run("init", tmp_path / "other.toml", "--labels", "Power Cuts")


def test_evaluate_writes_json_and_a_page(tmp_path: Path, linear_bundle: ModelBundle, corpus_file: Path) -> None:
    said = run(
        "evaluate", "--data", corpus_file, "--model", linear_bundle.path or "", "-o", tmp_path / "f.json", "--html", tmp_path / "p.html"
    )
    assert "rain" in said
    assert "PR-AUC" in said
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert set(figures["confusion"]) == {"rain", "snow", "(none)"}
    assert figures["all"]["n_posts"] == figures["by_language"]["kk"]["n_posts"] + figures["by_language"]["ru"]["n_posts"]
    assert (tmp_path / "p.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_compare_says_where_two_bundles_differ(tmp_path: Path, linear_bundle: ModelBundle, corpus_file: Path) -> None:
    path = linear_bundle.path or ""
    said = run("compare", path, path, "--data", corpus_file, "-o", tmp_path / "c.json")
    assert "rain" in said
    assert "better" not in said
    assert "worse" not in said
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["changed_sides"]["rain"] == {"mended": 0, "broken": 0}


def test_a_part_that_data_do_not_have_is_told(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Льёт дождь.", "labels": ["rain"], "split": "train"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="these 1 posts have no test part; pass --part all"):
        run("evaluate", "--data", path, "--model", linear_bundle.path or "")
