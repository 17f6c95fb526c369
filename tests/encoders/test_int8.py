"""8-bit weights: how far rounding moves them, and that it is done once."""

from __future__ import annotations

import numpy as np

from narratives.encoders.int8 import balance, grid, layer_inputs, quantise_blocks, rounded


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


def test_layer_inputs_are_named_as_the_encoders_modules_are_and_shared_by_query_key_and_value() -> None:
    names = layer_inputs(2, 8, 32)
    assert names["encoder.layer.1.output.dense"] == 32
    assert {width for name, width in names.items() if not name.endswith(".output.dense") or "attention" in name} == {8}
    assert len(names) == 8


def _error(inputs: np.ndarray, weight: np.ndarray, *, even: bool) -> float:
    """Of a product in int8, against the exact one, both of the same inputs; with or without balancing."""
    ranges = np.stack([inputs.min(axis=0), inputs.max(axis=0)])
    factors = balance(ranges, [weight]) if even else np.ones(inputs.shape[1], np.float32)
    scale, zero_point = grid(ranges / factors)
    limits = np.iinfo(zero_point.dtype)
    stored = np.clip(np.round(inputs / factors / scale) + int(zero_point), limits.min, limits.max)
    q, scales = quantise_blocks(weight * factors, weight.shape[1])
    found = (stored - int(zero_point)) @ q.T.astype(np.float32) * scale * scales[:, 0]
    exact = inputs @ weight.T
    return float(np.abs(found - exact).mean() / np.abs(exact).mean())


def test_balancing_keeps_the_digits_of_small_inputs_beside_a_large_one() -> None:
    rng = np.random.default_rng(5)
    inputs, weight = rng.normal(size=(200, 64)).astype(np.float32), rng.normal(size=(16, 64)).astype(np.float32)
    inputs[:, 7] *= 60
    weight[:, 7] /= 60
    assert _error(inputs, weight, even=True) < 0.02
    assert _error(inputs, weight, even=False) > 3 * _error(inputs, weight, even=True)


def test_one_sided_inputs_get_all_256_steps_and_zero_stays_zero() -> None:
    gelu = np.stack([np.full(4, -0.17, np.float32), np.full(4, 8.0, np.float32)])
    scale, zero_point = grid(gelu)
    assert zero_point.dtype == np.uint8
    assert 0 < int(zero_point) < 10
    np.testing.assert_allclose(float(scale) * 255, 8.17, rtol=1e-5)
    both = grid(np.stack([-gelu[1], gelu[1]]))
    assert (both.zero_point.dtype, int(both.zero_point)) == (np.int8, 0)
    assert np.isfinite(grid(np.zeros((2, 4), np.float32)).scale)
