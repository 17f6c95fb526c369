"""From posts in parts to a fitted bundle that nobody has measured yet: a base model with heads, or TF-IDF and logistic regression.

`train.py` calibrates it, measures it and writes its card.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from narratives.bundle import Calibration, ModelBundle, Reading, WeightKind, quantise
from narratives.config import TrainConfig
from narratives.errors import MissingDependency
from narratives.records import STANCES
from narratives.taxonomy import Taxonomy
from narratives.training.background import Background
from narratives.training.corpus import Split

if TYPE_CHECKING:
    from narratives.backends.torch import NarrativeModel
    from narratives.training.fit import OnProgress

FloatArray = npt.NDArray[np.float32]
LINEAR = "linear"
"""As `base_model`: TF-IDF and logistic regression instead of an encoder."""


def fit_linear_bundle(split: Split, real: Background, taxonomy: Taxonomy, text: str, name: str, *, config: TrainConfig) -> ModelBundle:
    """TF-IDF and logistic regression; `text` is the taxonomy's file, `name` the bundle's."""
    from narratives.training.linear import fit_linear

    weights = fit_linear([*split.train, *real.train], taxonomy, seed=config.seed)
    reading = Reading(max_length=100_000, latin_kazakh_to_cyrillic=True)
    return _unmeasured(name, taxonomy, text, config, "linear", "", reading, weights)


def fit_encoder_bundle(
    split: Split,
    real: Background,
    taxonomy: Taxonomy,
    text: str,
    name: str,
    *,
    config: TrainConfig,
    state: Path,
    scratch: Path,
    on_progress: OnProgress,
    say: Callable[[str], None],
) -> tuple[ModelBundle, dict[str, Path]]:
    """A fine-tuned encoder with its heads, and the files that `save_pretrained` is to copy beside its weights, made in `scratch`.

    Args:
        text: the taxonomy's file.
        name: the bundle's.
        state: the folder from which an interrupted training goes on.

    Raises:
        ConfigError: no such base model.
        MissingDependency: `narratives[train]` is not installed.
    """
    try:
        from narratives.backends.torch import NarrativeModel
        from narratives.encoders import bundled, hub
        from narratives.training.fit import fit
    except ImportError as error:
        raise MissingDependency(error.name or "torch", "train") from error

    say(f"loading {config.base_model}")
    is_bundled = config.base_model == bundled.NAME
    encoder, tokenizer = bundled.load_model() if is_bundled else hub.load_model(config.base_model)
    pad_id = int(tokenizer.pad_token_id or 0)
    config = dataclasses.replace(config, max_length=hub.usable_length(encoder, pad_id, config.max_length))
    prefix = bundled.PREFIX if is_bundled else ""
    model = NarrativeModel(encoder, n_labels=len(taxonomy), n_stances=len(STANCES), dropout=config.dropout)
    fit(
        model,
        tokenizer.backend_tokenizer,
        prefix=prefix,
        pad_id=pad_id,
        train=[*split.train, *real.train],
        validation=[*split.validation, *real.validation],
        taxonomy=taxonomy,
        config=config,
        checkpoint=state,
        on_progress=on_progress,
    )
    heads = {key: value.float().numpy() for key, value in model.folded_heads().items()}
    encoder_state = {key: value.detach().float().numpy() for key, value in model.encoder.state_dict().items() if value.is_floating_point()}
    reading = Reading(max_length=config.max_length, prefix=prefix, pad_id=pad_id, latin_kazakh_to_cyrillic=True)
    if is_bundled:
        _shape, base = bundled.read_weights()
        weights = {**heads, **difference(base, encoder_state)}
        return _unmeasured(name, taxonomy, text, config, "difference", bundled.SHA256, reading, weights), {}

    say("exporting the runtime graph")
    weights = {**heads, **{f"encoder.{key}": value for key, value in encoder_state.items()}}
    hub.save_beside(encoder, tokenizer, scratch)
    export_graph(model, scratch / "model.onnx")
    extra = {file: scratch / file for file in ("tokenizer.json", "config.json", "model.onnx")}
    return _unmeasured(name, taxonomy, text, config, "whole", "", reading, weights), extra


def export_graph(model: NarrativeModel, path: Path) -> None:
    """Write encoder and heads as the ONNX graph that backends run."""
    import torch

    example = torch.ones((2, 8), dtype=torch.long)
    with warnings.catch_warnings():
        # The newer exporter needs another package; this one is deprecated and exact.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (example, example),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["input_ids", "attention_mask"],
            output_names=["label_logits", "stance_logits"],
            dynamic_axes={name: {0: "n", 1: "length"} for name in ("input_ids", "attention_mask")}
            | {name: {0: "n"} for name in ("label_logits", "stance_logits")},
        )


def difference(base: Mapping[str, FloatArray], trained: Mapping[str, FloatArray]) -> dict[str, npt.NDArray[Any]]:
    """What training changed, as a bundle stores it: matrices in 8 bits with a scale per row, vectors in float32."""
    weights: dict[str, npt.NDArray[Any]] = {}
    for name, value in trained.items():
        delta = value - base[name]
        if not delta.any():
            continue
        if delta.ndim == 2:
            weights[f"difference.{name}"], weights[f"difference.{name}.scale"] = quantise(delta)
        else:
            weights[f"difference.{name}"] = delta
    return weights


def _unmeasured(
    name: str,
    taxonomy: Taxonomy,
    text: str,
    config: TrainConfig,
    kind: WeightKind,
    base_sha256: str,
    reading: Reading,
    weights: Mapping[str, Any],
) -> ModelBundle:
    return ModelBundle(
        name=name,
        taxonomy=taxonomy,
        taxonomy_text=text,
        kind=kind,
        base_model=config.base_model,
        base_sha256=base_sha256,
        reading=reading,
        calibration=Calibration.identity(len(taxonomy)),
        train_config=config,
        metrics={},
        card="Not measured yet.\n",
        weights=weights,
    )
