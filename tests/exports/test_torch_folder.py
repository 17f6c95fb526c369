"""What transformers loads without remote code is the encoder that was trained."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from narratives import Post, ScoreConfig, Scorer
from narratives.bundle import ModelBundle
from narratives.errors import BundleError
from narratives.exports.torch_folder import export_torch


def test_the_lines_of_the_folders_readme_give_the_scorers_probabilities(
    tiny_bundle: ModelBundle, tmp_path: Path, posts: list[Post]
) -> None:
    import dataclasses

    # Without the TF-IDF part, which stays behind.
    encoder_only = dataclasses.replace(tiny_bundle, weights={k: v for k, v in tiny_bundle.weights.items() if not k.startswith("joined.")})
    own = {name: tiny_bundle.path / name for name in ("model.onnx", "tokenizer.json", "config.json")}  # type: ignore[operator]
    encoder_only = encoder_only.save_pretrained(tmp_path / "bundle", extra_files=own)
    folder = export_torch(encoder_only.path, tmp_path / "torch")
    texts = [post.text for post in posts[:12]]
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    here = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(code, "README.md", "exec"), names)
    finally:
        os.chdir(here)
    names["folder"] = str(folder)
    found = names["label_probabilities"](texts).numpy()  # type: ignore[operator]
    expected = Scorer.from_bundle(encoder_only, config=ScoreConfig(backend="torch")).predict_proba(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not list(folder.glob("*.py")) and not list(folder.glob("*.bin"))
    assert names["settings"]["labels"] == list(tiny_bundle.labels)  # type: ignore[index]
    export_torch(encoder_only.path, folder)  # again, over itself


def test_what_has_no_torch_weights_says_so(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is of kind 'linear' and has no torch weights; give the bundle of an encoder"):
        export_torch(linear_bundle.path, tmp_path / "torch")


def test_another_folder_is_left_alone(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is no export of this kind; choose another folder"):
        export_torch(tiny_bundle.path, tmp_path)
