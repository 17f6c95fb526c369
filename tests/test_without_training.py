"""The base install has no scikit-learn: commands of training say in one line what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from narratives.bundle import ModelBundle

COMMAND = """
import sys
sys.modules |= {name: None for name in ("scipy", "sklearn", "torch", "transformers", "datasets")}
from narratives.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--data", "{data}", "--labels", "{labels}", "-o", "{folder}/new"],
        ["evaluate", "--data", "{data}", "--model", "{bundle}", "--part", "all"],
        ["compare", "{bundle}", "{bundle}", "--data", "{data}", "--part", "all"],
        ["rank", "{data}", "--labels", "{labels}"],
        ["suggest", "{data}", "--labels", "{labels}", "-o", "{folder}/next.parquet"],
        ["check-labels", "{data}", "--labels", "{labels}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_names_the_extra(arguments: list[str], tmp_path: Path, taxonomy_file: Path, linear_bundle: ModelBundle) -> None:
    data = tmp_path / "posts.jsonl"
    data.write_text('{"text": "Льёт дождь.", "labels": ["rain"], "stance": "endorses", "group": "1"}\n', encoding="utf-8")
    places = {"data": data, "labels": taxonomy_file, "folder": tmp_path, "bundle": linear_bundle.path}
    command = [sys.executable, "-c", COMMAND, *(argument.format(**places) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "which is not installed: pip install 'narratives[train]'" in done.stderr
    assert "Traceback" not in done.stderr
