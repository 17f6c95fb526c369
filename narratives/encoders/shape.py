"""The sizes of a BERT-like encoder: what the weight reader finds and the graph writer needs."""

from __future__ import annotations

from dataclasses import dataclass

GRAPH_VERSION = 3
"""Raised whenever `graph.build` gives another graph for the same weights, so that cached graphs are built anew."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Counts, all; `layer_norm_eps` as it stands under the square root."""

    hidden: int
    n_layers: int
    n_heads: int
    feed_forward: int
    vocabulary: int
    max_positions: int
    type_vocabulary: int
    layer_norm_eps: float
