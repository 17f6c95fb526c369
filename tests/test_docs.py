"""Documents that can be run are run, and say what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from narratives import job
from narratives.bundle import ModelBundle
from narratives.scorer import Scorer
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_run_top_to_bottom_and_are_committed_without_outputs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(path), "exec"), names)


def test_the_queries_of_the_docs_answer_on_a_real_output(
    tmp_path: Path, linear_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    rows = [("Точно говорю: дорога, льёт дождь вчера вечером. Рынок открыт.", "a", 5), ("Точно говорю: мост, валит снег.", "b", 7)]
    lines = [
        json.dumps({"id": str(i), "text": text, "channel": channel, "views": views, "date": "2023-10-06T09:00:00+00:00"})
        for i, (text, channel, views) in enumerate([*rows, ("Рынок открыт для всех в пятницу.", "b", 1)])
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), "utf-8")
    job.run(tmp_path / "in.jsonl", tmp_path / "out.parquet", Scorer.from_bundle(linear_bundle))
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    [query] = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    with duckdb.connect() as database:
        found = [(label, str(day), posts, channels, views) for label, day, posts, channels, views in database.sql(query).fetchall()]
    assert found == [("rain", "2023-10-06", 1, 1, 5), ("snow", "2023-10-06", 1, 1, 7)]
    [recipe] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(recipe, "docs/scaling.md", "exec"), names)
    sentences = names["sentences"].to_dicts()
    assert {(s["id"], s["label"]) for s in sentences} == {("0", "rain"), ("1", "snow")}
    assert "льёт дождь" in next(s["text"] for s in sentences if s["label"] == "rain")


def test_every_module_of_the_house_is_on_its_plan() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for path in sorted((ROOT / "narratives").rglob("*.py")):
        if path.name != "__init__.py":
            name = path.name if path.parent.name in {"narratives", "text", "training", "encoders", "readers"} else path.stem
            assert name in plan or path.stem in plan, f"{path.relative_to(ROOT)} is not in docs/architecture.md"


def test_files_named_in_the_readme_exist() -> None:
    for name in re.findall(r"`((?:docs|data|models|scripts|narratives)/[\w./-]+)`", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / name).exists(), name
