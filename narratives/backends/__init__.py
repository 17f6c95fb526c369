"""Backends: texts in, logits out. One file each, and one line each in `plugins.BACKENDS`.

Each file has `load(model: RuntimeModel, config: ScoreConfig) -> Backend`. Only torch's file imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Logits(NamedTuple):
    """`labels` (n_texts, n_labels) and `stances` (n_texts, 3), both float32, before calibration."""

    labels: FloatArray
    stances: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeModel:
    """What a backend runs: files made from a bundle, and how to read a text.

    `graph` and `tokenizer` are called when needed, because making them can take seconds; a linear model has neither.
    """

    labels: tuple[str, ...]
    max_length: int
    prefix: str
    pad_id: int
    graph: Callable[[], Path] | None = None
    int8_graph: Callable[[], Path] | None = None
    """The same with activations rounded too, for engines that multiply in int8; absent where nobody measured their ranges."""
    tokenizer: Callable[[], Path] | None = None
    has_int8_weights: bool = False
    """The linear weights of `graph` are in 8 bits: an engine may round activations as they come and multiply in int8."""
    torch_module: Callable[[], Any] | None = None
    linear_weights: Callable[[], dict[str, npt.NDArray[Any]]] | None = None


class Backend(Protocol):
    """A loaded model. `max_tokens` is what one text may hold, special tokens and prefix not counted."""

    name: str
    precision: str
    max_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special ones."""
        ...

    def logits(self, texts: Sequence[str]) -> Logits:
        """Score texts in any order of length; what is over `max_tokens` is cut."""
        ...
