"""Every code block of README and docs/: Python is run, commands and options are looked up, cheap commands are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer

from narratives.cli import app
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CHEAP = {"labels", "convert"}
_OTHER = {"curl", "make", "git", "python3", "cd", "cp", "mkdir", "docker", "ray", "sh"}
"""Not ours: nothing about them can be looked up here."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The lines of a page's shell blocks, as words, without variables, environment and path of the program."""
    found = []
    for block in (*blocks(page, "sh"), *blocks(page, "bash")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removesuffix("&"), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                found.append([Path(words[0]).name, *words[1:]])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample_dump: Path) -> Path:
    """Where the pages' reader stands: with the beginning of the sample dump, and its output by the shipped bundle."""
    folder = tmp_path_factory.mktemp("reader")
    dump = json.loads(sample_dump.read_text("utf-8"))
    dump["messages"] = dump["messages"][:40]
    (folder / "result.json").write_text(json.dumps(dump, ensure_ascii=False), encoding="utf-8")
    start = "from narratives.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", start, "score", "result.json", "-o", "out.parquet"], cwd=folder, env=environment, check=True)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run_from_top_to_bottom(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    for words in commands(page):
        name, rest = words[0], words[1:]
        if name == "narratives":
            _check_own(rest)
        elif name == "pip":
            for word in rest:
                for extra in re.findall(r"\[([\w,]+)\]", word):
                    assert set(extra.split(",")) <= extras, f"{page.name}: {word}"
        elif name == "python":
            if not rest[0].startswith("-"):
                script = ROOT / rest[0]
                assert script.is_file(), f"{page.name}: {rest[0]}"
                for word in rest[1:]:
                    assert not word.startswith("--") or word in script.read_text("utf-8"), f"{page.name}: {words}"
        else:
            assert name in _OTHER, f"{page.name}: {name} is not a command that is looked up; add it to _OTHER"


def _check_own(words: list[str]) -> None:
    command: click.Command = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, f"narratives {' '.join(words)}: no such command"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if re.match(r"--?[a-z]", word):
            assert word.split("=")[0] in known, f"narratives {' '.join(words)}: no option {word}"


@pytest.mark.parametrize(
    "words",
    [words for page in PAGES for words in commands(page) if words[0] == "narratives" and words[1] in _CHEAP],
    ids=lambda words: " ".join(words[1:])[:60],
)
def test_cheap_commands_run(words: list[str], folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "out.parquet", tmp_path)
    command = [sys.executable, "-c", "from narratives.cli import main; main()", *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
