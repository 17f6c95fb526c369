"""8-bit weights: how far rounding moves them, and that it is done once."""

from __future__ import annotations

import numpy as np

from narratives.encoders.int8 import quantise_blocks, rounded


def test_rounding_moves_a_weight_by_half_a_step_of_its_block_at_most() -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(6, 256)).astype(np.float32)
    weight[:, 128:] *= 100  # a block of large weights must not cost the small ones their digits
    q, scales = quantise_blocks(weight)
    assert q.dtype == np.int8
    assert scales.shape == (6, 2)
    error = np.abs(rounded({"encoder.x.weight": weight})["encoder.x.weight"] - weight).reshape(6, 2, 128).max(axis=2)
    assert (error <= scales / 2 * 1.001).all()
    assert error[:, 0].max() < 0.02


def test_rounding_twice_is_rounding_once() -> None:
    weight = np.random.default_rng(4).normal(size=(5, 384)).astype(np.float32)
    once = rounded({"encoder.x.weight": weight})["encoder.x.weight"]
    np.testing.assert_array_equal(quantise_blocks(once)[0], quantise_blocks(weight)[0])
    np.testing.assert_allclose(rounded({"encoder.x.weight": once})["encoder.x.weight"], once, rtol=1e-6)


def test_only_linear_layers_are_rounded_and_zeros_stay() -> None:
    weights = {
        "embeddings.word_embeddings.weight": np.full((3, 4), 0.123, dtype=np.float32),
        "encoder.layer.0.output.LayerNorm.weight": np.full(4, 0.123, dtype=np.float32),
        "encoder.layer.0.output.dense.weight": np.zeros((2, 7), dtype=np.float32),
    }
    for name, value in rounded(weights).items():
        np.testing.assert_array_equal(value, weights[name])
