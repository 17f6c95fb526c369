"""Linear weights in 8 bits: what the runtime graph holds and what torch is given, so that every backend has the same model.

A weight (out, in) is cut along its inputs into blocks; each block of each output row has one scale, its largest magnitude / 127.
Engines may then multiply in int8, activations being rounded in groups of the same size as they come (dynamic quantisation).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

BLOCK = 128
"""Inputs that share a scale. 128 against 64 or 32: as exact here, and OpenVINO multiplies faster."""

FloatArray = npt.NDArray[np.float32]


def block_of(n_inputs: int) -> int:
    """The block used for a layer: 128, or the whole row where 128 does not divide it."""
    return BLOCK if n_inputs % BLOCK == 0 else n_inputs


def quantise_blocks(weight: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A weight (out, in) as int8 of the same shape, and its scales (out, in / block), float32."""
    n_outputs, n_inputs = weight.shape
    blocks = weight.reshape(n_outputs, -1, block_of(n_inputs))
    scales = np.maximum(np.abs(blocks).max(axis=2) / 127.0, np.finfo(np.float32).tiny).astype(np.float32)
    return np.round(blocks / scales[:, :, None]).astype(np.int8).reshape(weight.shape), scales


def rounded(weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """An encoder's weights (transformers' names) with its linear layers rounded to 8 bits; the rest as it is."""
    return {name: _round_trip(value) if is_linear(name, value) else value for name, value in weights.items()}


def is_linear(name: str, value: npt.NDArray[np.generic]) -> bool:
    return name.startswith("encoder.") and value.ndim == 2


def _round_trip(weight: FloatArray) -> FloatArray:
    q, scales = quantise_blocks(weight)
    blocks = q.astype(np.float32).reshape(scales.shape[0], scales.shape[1], -1) * scales[:, :, None]
    return blocks.reshape(weight.shape)
