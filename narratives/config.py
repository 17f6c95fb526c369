"""Each setting once, with its unit, default and reason. Options of the command line are some of these fields."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from narratives.errors import ConfigError, UnknownName

Precision = Literal["auto", "bfloat16", "float32"]
OperatingPoint = Literal["balanced", "high_precision", "high_recall"]
BackendName = Literal["auto", "openvino", "onnx", "torch", "linear"]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """How posts are scored. None of these settings changes what a model learned."""

    backend: BackendName = "auto"
    """auto: OpenVINO where the CPU computes in bfloat16 and the bundle's agreement check passed, else onnxruntime."""
    threads: int | None = None
    """CPU threads of the inference engine; None: all cores this process may use."""
    chunk_posts: int = 4096
    """Posts sorted by length together: more waste less padding, fewer answer sooner. Bounds memory. Of `predict` and `pipe`;
    a job scores whole parts (`parts.PART_POSTS`)."""
    batch_tokens: int = 1024
    """Tokens in one batch, padding included; larger ones fall out of the CPU's cache, which batches that run at once share."""
    max_windows: int = 64
    """Windows read of one post (64 x 512 tokens are about 100,000 characters); beyond, `truncated` is true."""
    evidence: bool = True
    """Find the sentences that carry each label; costs a few more encoder calls for flagged posts only."""
    operating_point: OperatingPoint = "balanced"
    """Which of the bundle's thresholds decide. balanced: best F1; high_precision: few false alarms; high_recall: few misses, and what
    is guaranteed of it stands in the model card."""
    labels: tuple[str, ...] | None = None
    """Only these labels are flagged; None: all of the bundle's. Probabilities of all labels are kept."""
    screen: bool = False
    """Let the bundle's screen drop posts that surely carry nothing before the encoder reads them: several times faster on real dumps.
    They then have no probabilities and say `screened`. The `score` command does so unless told `--no-screen`."""

    def __post_init__(self) -> None:
        _check(self.chunk_posts >= 1, f"chunk_posts is {self.chunk_posts}, expected at least 1")
        _check(self.batch_tokens >= 512, f"batch_tokens is {self.batch_tokens}, expected at least 512 (one window)")
        _check(self.max_windows >= 1, f"max_windows is {self.max_windows}, expected at least 1")
        _check(self.threads is None or self.threads >= 1, f"threads is {self.threads}, expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is trained. Defaults were chosen on validation posts, see docs/experiments.md."""

    base_model: str = "multilingual-e5-small"
    """The shipped encoder, or any transformers id or folder."""
    seed: int = 13
    """Of initialisation, shuffling and the validation split. The test part does not depend on it."""
    epochs: int = 8
    """Passes over the training posts at most; early stopping usually ends before."""
    patience: int = 5
    """Epochs without a better validation macro-F1 before stopping."""
    batch_posts: int = 16
    """Posts per optimiser step; small, because there are few posts and each step learns from rare labels."""
    learning_rate: float = 6e-5
    """Peak rate of the encoder's layers, after a linear warm-up of 10% of the steps, then linear decay."""
    head_learning_rate: float = 5e-4
    """Peak rate of the two heads, on standardised features: they start from the linear probe and may move faster."""
    probe_c: float = 0.1
    """Inverse strength of the linear probe's L2 penalty (scikit-learn's C); 0.1 was best of 0.01, 0.1, 1 on validation posts."""
    average_decay: float = 0.99
    """Validated and kept is a moving average of the weights (Polyak and Juditsky 1992), with this decay a step; 0 is none."""
    weight_decay: float = 0.01
    """AdamW (Loshchilov and Hutter 2019); not on biases and layer norms."""
    layer_decay: float = 0.9
    """Each layer below learns at this share of the one above (Howard and Ruder 2018)."""
    train_layers: int = 12
    """How many of the encoder's top layers are trained; embeddings never are (Kazakh rows would drift unseen)."""
    max_length: int = 512
    """Tokens of one window, special tokens included."""
    dropout: float = 0.2
    """On the pooled vector, before the heads; inside the encoder there is none (30% faster on a CPU)."""
    positive_weight_power: float = 0.5
    """Weight of a positive target: (negatives / positives) to this power; 0 is none, 1 full balance."""
    stance_weight: float = 0.5
    """Share of the stance loss beside the label loss."""
    background_weight: float = 5.0
    """How many times an ordinary post counts when thresholds are chosen: corpora are half narratives, dumps are not. Ordinary are the
    background posts; without them, written posts without any label. Higher: fewer false alarms, more missed."""
    background_posts: int = 800
    """Real posts without a label to train on, where `--background` names dumps."""
    background_validation_posts: int = 2000
    """Further real posts that set thresholds: fewer false alarms at the same F1 than 400 of them counted five times."""
    background_screen_posts: int = 8000
    """Further real posts that only the screen sees, at most; it costs nothing to train on many."""
    validation_share: float = 0.15
    """Of the posts outside the test part, by group."""
    augment: float = 0.5
    """Share of training posts shown otherwise: dropped Kazakh letters, typos, other case, other towns; endorsements also answered by a
    debunk or quoted, with that stance."""
    contrastive_epochs: int = 2
    """Passes before the first epoch in which posts that share labels are only drawn together (as SetFit does); 0: none."""
    linear_part: bool = True
    """Join a TF-IDF model to the encoder, weighted on validation posts: the two err differently (docs/experiments.md)."""
    precision: Precision = "auto"
    """auto: bfloat16 autocast on cuda and on CPUs with avx512_bf16 or amx, else float32."""

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"epochs is {self.epochs}, expected at least 1")
        _check(self.patience >= 1, f"patience is {self.patience}, expected at least 1")
        _check(self.contrastive_epochs >= 0, f"contrastive_epochs is {self.contrastive_epochs}, expected at least 0")
        _check(self.batch_posts >= 1, f"batch_posts is {self.batch_posts}, expected at least 1")
        _check(self.learning_rate > 0 and self.head_learning_rate > 0, "learning rates must be above 0")
        _check(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}, expected in (0, 1]")
        _check(self.train_layers >= 0, f"train_layers is {self.train_layers}, expected at least 0")
        _check(self.max_length >= 16, f"max_length is {self.max_length}, expected at least 16")
        _check(0 <= self.average_decay < 1, f"average_decay is {self.average_decay}, expected in [0, 1)")
        _check(0 <= self.dropout < 1, f"dropout is {self.dropout}, expected in [0, 1)")
        _check(self.background_weight > 0, f"background_weight is {self.background_weight}, expected above 0")
        _check(self.background_posts >= 1, f"background_posts is {self.background_posts}, expected at least 1")
        _check(
            self.background_validation_posts >= 1, f"background_validation_posts is {self.background_validation_posts}, expected 1 or more"
        )
        _check(self.background_screen_posts >= 0, f"background_screen_posts is {self.background_screen_posts}, expected 0 or more")
        _check(0 < self.validation_share < 0.5, f"validation_share is {self.validation_share}, expected in (0, 0.5)")
        _check(0 <= self.augment <= 1, f"augment is {self.augment}, expected in [0, 1]")

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The config of a bundle's `train_config.json`.

        Raises:
            UnknownName: a key is not a setting.
        """
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise UnknownName("setting", name, cls.__dataclass_fields__)
        return cls(**values)  # type: ignore[arg-type]  # values come from JSON; __post_init__ checks ranges


def usable_cores() -> int:
    """Cores this process may use; fewer than the machine's under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows


def may_have_bfloat16() -> bool:
    """False where this CPU surely does not compute in bfloat16, by its flags on Linux: to ask OpenVINO means to load it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True  # not Linux
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", flags, flags=re.MULTILINE)
    return found is None or bool({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"} & set(found[1].split()))
