"""Ranges of activations, and the int8 graph that is made of them, against the graph without."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from narratives import bundle as bundles
from narratives.backends.batching import TextEncoder
from narratives.backends.onnx import OnnxBackend
from narratives.bundle import INT8_GRAPH, ModelBundle
from narratives.config import ScoreConfig
from narratives.encoders.int8 import layer_inputs
from narratives.scorer import MAX_FLIPPED, choose_backend
from narratives.training import measure
from narratives.training.activations import Ranges, activation_ranges
from narratives.training.corpus import read_corpus
from narratives.training.features import _passing, read_texts
from narratives.training.measure import compare_backends, raw_logits
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def shipped() -> ModelBundle:
    return bundles.load()


@pytest.fixture(scope="module")
def some(shipped: ModelBundle) -> list:
    return read_corpus(ROOT / "data" / "posts", shipped.taxonomy)[::230]


@pytest.fixture(scope="module")
def ranges(shipped: ModelBundle, some: list) -> Ranges:
    return activation_ranges(shipped, some)


def test_every_input_has_a_range_that_holds_what_passes_there(shipped: ModelBundle, some: list, ranges: Ranges) -> None:
    encoder = shipped.torch_module().encoder
    widths = layer_inputs(encoder.config.num_hidden_layers, encoder.config.hidden_size, encoder.config.intermediate_size)
    assert {name: value.shape for name, value in ranges.items()} == {name: (2, width) for name, width in widths.items()}
    runtime, seen = shipped.runtime(), []
    assert runtime.tokenizer is not None
    encoder.get_submodule("encoder.layer.3.output.dense").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    reader = TextEncoder(runtime.tokenizer(), prefix=runtime.prefix, max_length=512, pad_id=runtime.pad_id, batch_tokens=4096)
    with torch.inference_mode():
        for text in read_texts(some):
            for batch in reader.batches([text]):
                encoder(input_ids=torch.from_numpy(batch.input_ids), attention_mask=torch.from_numpy(batch.attention_mask))
    tokens, (low, high) = torch.cat(seen).numpy(), ranges["encoder.layer.3.output.dense"].astype(np.float32)
    # Each is met by some token and passed by none, but for half precision.
    np.testing.assert_allclose(tokens.max(axis=0), high, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(tokens.min(axis=0), low, rtol=2e-3, atol=2e-3)


def test_padding_is_no_token(shipped: ModelBundle, some: list) -> None:
    one, other = some[0], dataclasses.replace(some[1], text="Да")
    together, alone = activation_ranges(shipped, [one, other]), [activation_ranges(shipped, [post]) for post in (one, other)]
    for name, value in together.items():
        expected = np.stack([np.minimum(*(a[name][0] for a in alone)), np.maximum(*(a[name][1] for a in alone))])
        np.testing.assert_allclose(value.astype(np.float32), expected.astype(np.float32), rtol=5e-3, atol=5e-3)


def test_the_int8_graph_decides_as_the_other(shipped: ModelBundle, some: list) -> None:
    texts, runtime = read_texts(some), shipped.runtime()
    whole = OnnxBackend(runtime, ScoreConfig()).logits(texts).labels
    rounded = OnnxBackend(dataclasses.replace(runtime, graph=runtime.int8_graph), ScoreConfig()).logits(texts).labels
    assert 0 < np.abs(rounded - whole).mean() < 0.4
    thresholds = np.array(shipped.calibration.thresholds, dtype=np.float32)
    flags = [shipped.calibration.decide(shipped.calibration.probabilities(x), thresholds) for x in (whole, rounded)]
    assert (flags[0] != flags[1]).mean() <= 4 * MAX_FLIPPED  # of 250 decisions
    assert shipped.agreement[INT8_GRAPH]["flipped_share"] <= MAX_FLIPPED


def test_ranges_that_change_decisions_are_dropped(shipped: ModelBundle, some: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MIN_FOR_RANGES", 2)
    narrow = {name: (value / 50).astype(np.float16) for name, value in shipped.activation_ranges.items()}
    monkeypatch.setattr("narratives.training.activations.activation_ranges", lambda *_: narrow)
    logits, _ = raw_logits(shipped, some, ScoreConfig(backend="onnx", evidence=False))
    bare = dataclasses.replace(shipped, activation_ranges={}, agreement={})
    found = compare_backends(bare, some, logits, seen=some)
    assert not found.activation_ranges
    assert set(found.agreement) == {"openvino", "onnx"}


def test_ranges_are_kept_where_decisions_stay(shipped: ModelBundle, some: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MIN_FOR_RANGES", 2)
    monkeypatch.setattr(measure, "MAX_FLIPPED", 0.02)  # five of these 250 decisions, instead of one
    logits, _ = raw_logits(shipped, some, ScoreConfig(backend="onnx", evidence=False))
    bare = dataclasses.replace(shipped, activation_ranges={}, agreement={})
    found = compare_backends(bare, some, logits, seen=some)
    assert set(found.activation_ranges) == set(shipped.activation_ranges)
    assert set(found.agreement) == {"openvino", "onnx", INT8_GRAPH}
    # Few posts, or none: a bundle that others are made of keeps what it has.
    again = compare_backends(bare, some, logits, seen=[])
    assert not again.activation_ranges
    kept = compare_backends(shipped, some, logits, seen=some)
    assert kept.activation_ranges is shipped.activation_ranges


def test_automatic_choice_asks_the_int8_graph_too(shipped: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narratives.scorer.may_have_bfloat16", lambda: True)
    monkeypatch.setattr("narratives.backends.openvino.has_bfloat16", lambda: True)
    assert choose_backend(shipped) == "openvino"
    bad = {**shipped.agreement, INT8_GRAPH: {**shipped.agreement[INT8_GRAPH], "flipped_share": 0.01}}
    assert choose_backend(dataclasses.replace(shipped, agreement=bad)) == "onnx"
    assert choose_backend(dataclasses.replace(shipped, agreement=bad, activation_ranges={})) == "openvino"


def test_features_to_fit_heads_on_are_not_rounded(shipped: ModelBundle) -> None:
    assert shipped.runtime().int8_graph is not None
    assert _passing(shipped).runtime().int8_graph is None


def test_finishing_again_refuses_what_it_cannot_finish(shipped: ModelBundle, tmp_path: Path) -> None:
    finish_again = runpy.run_path(str(ROOT / "scripts" / "finish.py"))["finish_again"]
    posts, target = ROOT / "data" / "posts", tmp_path / "mine"
    with pytest.raises(SystemExit, match="was trained with real posts beside the corpus; name them with --background"):
        finish_again(shipped, posts, [], target)
    for other in (dataclasses.replace(shipped, kind="runtime"), dataclasses.replace(shipped, metrics={"new_labels": {}})):
        with pytest.raises(SystemExit, match="expected a bundle that `narratives train` made of a corpus of events"):
            finish_again(other, posts, [], target)
    assert not target.exists()
