"""Find disinformation narratives in Russian and Kazakh posts.

    from narratives import Scorer

    scorer = Scorer.from_pretrained()
    for prediction in scorer.predict(["…"]):
        print(prediction.labels, prediction.stance)

Importing this package brings in nothing heavy: `Scorer` loads the inference engine when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narratives import errors
from narratives.config import ScoreConfig, TrainConfig
from narratives.errors import NarrativesError
from narratives.records import Evidence, Post, Prediction
from narratives.taxonomy import Label, Taxonomy

if TYPE_CHECKING:
    from narratives.scorer import Scorer

__all__ = [
    "Evidence",
    "Label",
    "NarrativesError",
    "Post",
    "Prediction",
    "ScoreConfig",
    "Scorer",
    "Taxonomy",
    "TrainConfig",
    "errors",
]


def __getattr__(name: str) -> object:
    if name == "Scorer":
        from narratives.scorer import Scorer

        return Scorer
    raise AttributeError(f"module 'narratives' has no attribute {name!r}")
