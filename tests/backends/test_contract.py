"""The same facts over every backend of the table."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from narratives import bundle as bundles
from narratives import plugins
from narratives.backends import Backend
from narratives.backends.openvino import has_bfloat16
from narratives.bundle import ModelBundle
from narratives.config import BackendName, ScoreConfig
from narratives.errors import ConfigError
from narratives.readers import read_posts
from narratives.records import Post
from narratives.scorer import MAX_FLIPPED

TEXTS = ["Точно говорю: дорога, льёт дождь.", "да", "школа " * 30, "Валит снег весь день, сообщают соседи.", "льёт дождь"]


def load(name: str, bundle: ModelBundle) -> Backend:
    backend: Backend = plugins.load("backend", plugins.BACKENDS, name)(bundle.runtime(), ScoreConfig(threads=1))
    return backend


@pytest.fixture(params=sorted(plugins.BACKENDS))
def backend(request: pytest.FixtureRequest, tiny_bundle: ModelBundle, linear_bundle: ModelBundle) -> Backend:
    return load(request.param, linear_bundle if request.param == "linear" else tiny_bundle)


def test_every_backend_file_has_its_line_and_its_option() -> None:
    files = {p.stem for p in (Path(plugins.__file__).parent / "backends").glob("*.py")} - {"__init__", "batching", "terms"}
    assert files == set(plugins.BACKENDS)
    assert set(get_args(BackendName)) == {"auto", *plugins.BACKENDS}


def test_logits_have_a_row_for_each_text_in_the_order_given(backend: Backend) -> None:
    together = backend.logits(TEXTS)
    assert together.labels.shape == (5, 2)
    assert together.stances.shape == (5, 3)
    assert together.labels.dtype == together.stances.dtype == np.float32
    alone = np.concatenate([backend.logits([text]).labels for text in TEXTS])
    tolerance = 0.1 if backend.precision == "bfloat16" else 1e-4
    np.testing.assert_allclose(together.labels, alone, atol=tolerance)


def test_no_text_gives_no_row(backend: Backend) -> None:
    assert backend.logits([]).labels.shape == (0, 2)


def test_more_tokens_are_counted_for_more_text(backend: Backend) -> None:
    short, long = backend.count_tokens(["дорога", "дорога и школа и рынок"])
    assert 0 < short < long


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_fast_backends_agree_with_torch(name: str, tiny_bundle: ModelBundle, posts: list[Post]) -> None:
    texts = [post.text for post in posts]
    expected, found = load("torch", tiny_bundle).logits(texts), load(name, tiny_bundle)
    got = found.logits(texts)
    # bfloat16 keeps 8 bits of each factor: its error grows with the sums, so it is bounded by the spread of the logits.
    # Measured: 0.07 of the spread at most, 0.02 at the median; the tiny encoder's training falls out a little differently each time.
    for ours, torchs in ((got.labels, expected.labels), (got.stances, expected.stances)):
        error = np.abs(ours - torchs) / (np.std(torchs) if found.precision == "bfloat16" else 1.0)
        assert error.max() < (0.3 if found.precision == "bfloat16" else 1e-3)
        assert np.median(error) < (0.06 if found.precision == "bfloat16" else 1e-4)


def test_int8_products_decide_as_torch_does_on_the_shipped_bundle() -> None:
    bundle = bundles.load()
    sample = Path(__file__).parents[2] / "data" / "samples" / "telegram-export" / "result.json"
    texts = [post.text for post in read_posts(sample) if isinstance(post, Post) and post.text]
    expected, got = load("torch", bundle).logits(texts).labels, load("openvino", bundle)
    assert got.precision == ("int8" if has_bfloat16() else "int8 dynamic")
    thresholds = np.array(bundle.calibration.thresholds)
    flipped = (bundle.calibration.probabilities(got.logits(texts).labels) >= thresholds) != (
        bundle.calibration.probabilities(expected) >= thresholds
    )
    assert flipped.mean() <= MAX_FLIPPED * 2  # a share of some 1,200 decisions: 12 against the 6 allowed on validation posts


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch"])
def test_an_encoder_backend_refuses_a_linear_bundle(name: str, linear_bundle: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="use backend 'linear' or 'auto'"):
        load(name, linear_bundle)
