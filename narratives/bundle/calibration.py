"""From logits to probabilities to decisions. How the numbers are found is `training/calibration.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from narratives.backends import FloatArray
from narratives.config import OperatingPoint
from narratives.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Calibration:
    """From logits to probabilities to decisions. All tuples are in taxonomy order.

    A label's probability is sigmoid(slope * logit + intercept) (Platt 1999); the stance's is softmax(logits / temperature)
    (Guo et al. 2017). `thresholds` are in (0, 1]: those of the operating point `balanced`; `operating_points` has the others.
    """

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    thresholds: tuple[float, ...]
    stance_temperature: float = 1.0
    operating_points: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    recall_guaranteed: tuple[bool, ...] = ()
    """Of `high_recall`: the labels of which validation posts are many enough to promise a recall of 0.95 with 90% confidence."""
    screen_threshold: float | None = None
    """A post whose screen logit is below it surely carries nothing; None: this bundle has no screen."""
    exclusive: Literal["", "one", "at most one"] = ""
    """How many labels a post has: "" any number, each with a sigmoid of its own; else a softmax, over the labels alone ("one") or over
    them and "none of these", whose logit is 0 ("at most one"). Only the strongest is then flagged."""
    has_stance: bool = True
    """Whether stances were trained; without, predictions have none."""

    def at(self, operating_point: OperatingPoint) -> tuple[float, ...]:
        """The thresholds of an operating point.

        Raises:
            ConfigError: this bundle has none of that name (it was trained before there were any).
        """
        if operating_point == "balanced":
            return self.thresholds
        if operating_point not in self.operating_points:
            raise ConfigError(f"this bundle has no operating point {operating_point!r}, only balanced; train it again")
        return self.operating_points[operating_point]

    def screen_at(self, operating_point: OperatingPoint) -> float | None:
        """The screen's threshold; None where no post is screened: a bundle without a screen, and `high_recall`, whose further posts a
        screen made for those of `balanced` would lose."""
        return None if operating_point == "high_recall" else self.screen_threshold

    @classmethod
    def identity(cls, n_labels: int) -> Calibration:
        return cls((1.0,) * n_labels, (0.0,) * n_labels, (0.5,) * n_labels)

    def probabilities(self, label_logits: FloatArray) -> FloatArray:
        """Shape (n, n_labels), float32 in [0, 1]."""
        x = label_logits.astype(np.float64) * np.array(self.slopes) + np.array(self.intercepts)
        if self.exclusive:
            top = x.max(axis=1, keepdims=True) if self.exclusive == "one" else np.maximum(x.max(axis=1, keepdims=True), 0.0)
            e = np.exp(x - top)
            rest = 0.0 if self.exclusive == "one" else np.exp(-top)
            return cast(FloatArray, (e / (e.sum(axis=1, keepdims=True) + rest)).astype(np.float32))
        probabilities: FloatArray = (1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
        return probabilities

    def decide(self, probabilities: FloatArray, thresholds: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        """Which labels are flagged: those at or above their thresholds; of these only the strongest where labels exclude each other.

        Both arguments and the result have shape (n, n_labels), or thresholds (n_labels,).
        """
        flagged: npt.NDArray[np.bool_] = probabilities >= thresholds
        if self.exclusive and flagged.size:
            strongest = np.where(flagged, probabilities, -1.0).argmax(axis=1)
            flagged &= np.arange(flagged.shape[1])[None] == strongest[:, None]
        return flagged

    def stance_probabilities(self, stance_logits: FloatArray) -> FloatArray:
        """Shape (n, 3), float32, rows sum to 1."""
        x = stance_logits.astype(np.float64) / self.stance_temperature
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return cast(FloatArray, (e / e.sum(axis=1, keepdims=True)).astype(np.float32))
