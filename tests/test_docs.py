"""Documents that can be run are run, and say what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_run_top_to_bottom_and_are_committed_without_outputs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(path), "exec"), names)


def test_every_module_of_the_house_is_on_its_plan() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for path in sorted((ROOT / "narratives").rglob("*.py")):
        if path.name != "__init__.py":
            name = path.name if path.parent.name in {"narratives", "text", "training", "encoders", "readers"} else path.stem
            assert name in plan or path.stem in plan, f"{path.relative_to(ROOT)} is not in docs/architecture.md"


def test_files_named_in_the_readme_exist() -> None:
    for name in re.findall(r"`((?:docs|data|models|scripts|narratives)/[\w./-]+)`", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / name).exists(), name
