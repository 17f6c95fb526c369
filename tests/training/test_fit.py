"""Fine-tuning of a tiny encoder: it learns, resumes after a kill, and gives the same for the same seed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from narratives.bundle import Calibration, ModelBundle, load
from narratives.config import TrainConfig
from narratives.records import Post
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy
from narratives.training.fit import contrastive_loss
from narratives.training.train import train
from tests.conftest import ROOT, TINY, TOML


def settings(tiny_encoder: Path, **changes: object) -> TrainConfig:
    return dataclasses.replace(TINY, base_model=str(tiny_encoder), **changes)  # type: ignore[arg-type]


def test_it_learns_what_is_easily_told_apart(tiny_bundle: ModelBundle) -> None:
    assert tiny_bundle.metrics["test"]["all"]["labels_macro_f1"]["value"] > 0.9


def test_the_bundle_has_all_it_needs(tiny_bundle: ModelBundle) -> None:
    assert tiny_bundle.path is not None
    names = {p.name for p in tiny_bundle.path.iterdir()}
    assert {
        "bundle.json",
        "taxonomy.toml",
        "weights.safetensors",
        "calibration.json",
        "train_config.json",
        "metrics.json",
        "README.md",
    } <= names
    assert {"model.onnx", "tokenizer.json", "config.json"} <= names
    assert not tiny_bundle.path.with_name("tiny.training").exists()


def test_the_card_gives_the_measured_figures(tiny_bundle: ModelBundle) -> None:
    value = tiny_bundle.metrics["test"]["all"]["labels_macro_f1"]["value"]
    assert f"{value:.3f} [" in tiny_bundle.card
    assert "synthetic" in tiny_bundle.card


def test_a_linear_part_is_joined_with_the_weight_validation_favours(tiny_bundle: ModelBundle) -> None:
    figures = tiny_bundle.metrics["linear_part"]
    both = figures["validation_average_precision"]
    assert both["joined"] >= both["encoder"]
    part = tiny_bundle.linear_part()
    assert part is not None
    assert (part["labels.weight"] != 0).any() == (figures["weight_of_labels"] > 0)


def test_a_joined_bundle_adds_both_logits(tiny_bundle: ModelBundle) -> None:
    part = tiny_bundle.linear_part()
    assert part is not None
    doubled = {"joined.labels.bias": part["labels.bias"] + np.float32(3)}
    calibration = Calibration.identity(2)
    texts = ["Рынок открыт для всех в пятницу."]
    before, after = (
        Scorer.from_bundle(
            dataclasses.replace(tiny_bundle, calibration=calibration, weights={**tiny_bundle.weights, **changed})
        ).predict_proba(texts)
        for changed in ({}, doubled)
    )
    np.testing.assert_allclose(np.log(after / (1 - after)) - np.log(before / (1 - before)), 3, atol=1e-2)


def test_fast_backends_were_compared_with_torch(tiny_bundle: ModelBundle) -> None:
    assert set(tiny_bundle.agreement) == {"openvino", "onnx"}
    assert tiny_bundle.agreement["onnx"]["flipped_share"] == 0
    assert tiny_bundle.agreement["onnx"]["n_decisions"] == 2 * tiny_bundle.metrics["n_posts"]["validation"]


def test_only_the_top_layers_are_trained_when_told_so(tmp_path: Path, weather: Taxonomy, posts: list[Post], tiny_encoder: Path) -> None:
    before = load_file(tiny_encoder / "model.safetensors")
    bundle = train(posts, weather, TOML, tmp_path / "m", config=settings(tiny_encoder, train_layers=1, epochs=1))
    changed = {name for name, value in before.items() if not np.array_equal(bundle.weights[f"encoder.{name}"], value)}
    assert changed
    assert all(".layer.1." in name for name in changed)


def test_a_killed_training_goes_on_to_the_same_model(tmp_path: Path, tiny_encoder: Path, corpus_file: Path, taxonomy_file: Path) -> None:
    command = [
        sys.executable, str(ROOT / "scripts" / "train.py"), "--data", str(corpus_file), "--labels", str(taxonomy_file),
        "--base-model", str(tiny_encoder), "--epochs", "6", "--set", "learning_rate=0.003", "--set", "precision=float32",
        "--set", "patience=6",
    ]  # fmt: skip
    subprocess.run([*command, "-o", str(tmp_path / "whole" / "m")], check=True, capture_output=True)
    state = tmp_path / "killed" / "m.training" / "state.json"
    process = subprocess.Popen([*command, "-o", str(tmp_path / "killed" / "m")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert state.exists(), "no epoch ended in two minutes"
    assert not (tmp_path / "killed" / "m").exists(), "it was killed too late to be a test"
    subprocess.run([*command, "-o", str(tmp_path / "killed" / "m")], check=True, capture_output=True)
    whole, resumed = (load_file(tmp_path / name / "m" / "weights.safetensors") for name in ("whole", "killed"))
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, atol=1e-5, err_msg=name)


def test_the_shipped_encoder_is_stored_as_a_small_difference(tmp_path: Path, weather: Taxonomy, posts: list[Post]) -> None:
    config = TrainConfig(epochs=1, train_layers=1, max_length=32, batch_posts=32, linear_part=False)
    bundle = train(posts, weather, TOML, tmp_path / "m", config=config)
    assert bundle.kind == "difference"
    assert {name.split(".")[3] for name in bundle.weights if name.startswith("difference.encoder.layer")} == {"11"}
    assert (tmp_path / "m" / "weights.safetensors").stat().st_size < 3_000_000
    assert bundle.agreement["onnx"]["flipped_share"] <= 0.005
    assert load(tmp_path / "m").digest == bundle.digest


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown setting 'epoch'; known: .*Did you mean 'epochs'"):
        TrainConfig.from_dict({"epoch": 3})


def test_the_contrastive_loss_is_least_where_posts_with_the_same_labels_lie_together() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    together = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
    apart = together[[0, 2, 1, 3]]
    assert contrastive_loss(together, targets) < contrastive_loss(apart, targets)
    # A post whose labels no other has pulls nothing: the loss stays finite.
    assert torch.isfinite(contrastive_loss(together, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])))
