"""Linear layers in 8 bits.

Weights: what every graph holds and what torch is given, so that every backend has the same model. A weight (out, in) is cut along its
inputs into blocks; each block of each output row has one scale, its largest magnitude / 127. Engines may then multiply in int8,
activations being rounded in groups of the same size as they come (dynamic quantisation).

Activations: CPUs with matrix units multiply int8 by int8 only on a grid that is known before. `balance` and `grid` make one from the
range of each input of a layer, measured on posts (`training/activations.py`). A few inputs of this encoder are thirty times the others;
as SmoothQuant does (Xiao et al. 2023, arXiv:2211.10438), part of an input's size is moved into the weights that it meets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 128
"""Inputs that share a scale. 128 against 64 or 32: as exact here, and OpenVINO multiplies faster."""

STRENGTH = 0.85
"""How much of an input's size is moved into the weights: SmoothQuant's alpha. Of 0.5 to 0.95 the one with the smallest large errors of
logits (99th percentile); one searched for each layer lowers the mean error by a sixth (docs/experiments.md)."""

FloatArray = npt.NDArray[np.float32]


def block_of(n_inputs: int) -> int:
    """The block used for a layer: 128, or the whole row where 128 does not divide it."""
    return BLOCK if n_inputs % BLOCK == 0 else n_inputs


def quantise_blocks(weight: FloatArray, block: int | None = None) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A weight (out, in) as int8 of the same shape, and its scales (out, in / block), float32; without `block` that of `block_of`."""
    n_outputs, n_inputs = weight.shape
    blocks = weight.reshape(n_outputs, -1, block or block_of(n_inputs))
    scales = np.maximum(np.abs(blocks).max(axis=2) / 127.0, np.finfo(np.float32).tiny).astype(np.float32)
    return np.round(blocks / scales[:, :, None]).astype(np.int8).reshape(weight.shape), scales


class Grid(NamedTuple):
    """Numbers that stand for activations: `scale` times (integer less `zero_point`), whose type says whether they have a sign."""

    scale: np.float32
    zero_point: np.int8 | np.uint8


def layer_inputs(n_layers: int, hidden: int, feed_forward: int) -> dict[str, int]:
    """What the linear layers of a BERT-like encoder take in: the name of each input, and its width. Query, key and value share one."""
    parts = {"attention.self": hidden, "attention.output.dense": hidden, "intermediate.dense": hidden, "output.dense": feed_forward}
    return {f"encoder.layer.{layer}.{part}": width for layer in range(n_layers) for part, width in parts.items()}


def balance(ranges: FloatArray, weights: Sequence[FloatArray]) -> FloatArray:
    """What to divide each input by, and multiply its weights with, so that neither loses its digits to a few large ones.

    Args:
        ranges: lowest and highest value of each input, shape (2, n_inputs).
        weights: all that the inputs meet, each (out, in).

    Returns:
        Factors, shape (n_inputs,), float32.
    """
    inputs = np.maximum(np.abs(ranges).max(axis=0), 1e-5)
    met = np.maximum(np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0), 1e-6)
    factors: FloatArray = np.maximum(inputs**STRENGTH / met ** (1 - STRENGTH), 1e-5).astype(np.float32)
    return factors


def grid(ranges: FloatArray) -> Grid:
    """256 steps over the values of all inputs; one-sided ones (after GELU) get a zero point and so twice the steps.

    Args:
        ranges: as for `balance`, divided by its factors.
    """
    low, high = min(0.0, float(ranges[0].min())), max(0.0, float(ranges[1].max()))
    if -low > high / 2:
        return Grid(np.float32(max(-low, high, 1e-6) / 127), np.int8(0))
    scale = max(high - low, 1e-6) / 255
    return Grid(np.float32(scale), np.uint8(round(-low / scale)))


def rounded(weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """An encoder's weights (transformers' names) with its linear layers rounded to 8 bits; the rest as it is."""
    return {name: _round_trip(value) if is_linear(name, value) else value for name, value in weights.items()}


def is_linear(name: str, value: npt.NDArray[np.generic]) -> bool:
    return name.startswith("encoder.") and value.ndim == 2


def _round_trip(weight: FloatArray) -> FloatArray:
    q, scales = quantise_blocks(weight)
    blocks = q.astype(np.float32).reshape(scales.shape[0], scales.shape[1], -1) * scales[:, :, None]
    return blocks.reshape(weight.shape)
