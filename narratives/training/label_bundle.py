"""From fitted heads to a bundle: over the encoder as it is or tuned, or as new rows beside the labels that a bundle knows already."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives.backends.linear import LinearModel
from narratives.backends.terms import N_FEATURES
from narratives.bundle import Calibration, ModelBundle, Reading
from narratives.config import TrainConfig
from narratives.encoders import bundled
from narratives.errors import ConfigError, MissingDependency
from narratives.records import STANCES
from narratives.taxonomy import Taxonomy, dump
from narratives.training.features import Pool, base_bundle
from narratives.training.heads import Heads
from narratives.training.logistic import Linear

FloatArray = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """All that a bundle of new labels has over its encoder, and the out-of-fold logits it was calibrated on."""

    labels: Heads
    stance: Heads | None
    calibration: Calibration
    body: ModelBundle
    figures: dict[str, Any]

    def logits(self, texts: Sequence[str], pool: Pool) -> FloatArray:
        """Label logits of texts, as the bundle will give them; shape (n_texts, n_labels)."""
        found = self.labels.encoder.logits(pool(texts))
        if self.labels.terms is not None:
            found = found + LinearModel(terms_weights(self.labels, None, found.shape[1])).logits(texts).labels
        return found


def base_of(config: TrainConfig, scratch: Path) -> ModelBundle:
    """The encoder that a config names, as a bundle without labels. A transformers id or folder is written to `scratch` first."""
    if config.base_model == bundled.NAME:
        return base_bundle(config.max_length)
    try:
        from narratives.encoders import hub
    except ImportError as error:
        raise MissingDependency(error.name or "transformers", "train") from error
    encoder, tokenizer = hub.load_model(config.base_model)
    hub.save_beside(encoder, tokenizer, scratch)
    state = {f"encoder.{k}": v.detach().float().numpy() for k, v in encoder.state_dict().items() if v.is_floating_point()}
    pad_id = int(tokenizer.pad_token_id or 0)
    hidden = int(encoder.config.hidden_size)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in _head_shapes(0, hidden).items()}
    return dataclasses.replace(
        base_bundle(),
        kind="whole",
        base_model=config.base_model,
        base_sha256="",
        reading=Reading(max_length=hub.usable_length(encoder, pad_id, config.max_length), pad_id=pad_id, latin_kazakh_to_cyrillic=True),
        weights={**state, **zeros},
        path=scratch,
    )


def _head_shapes(n_labels: int, hidden: int) -> dict[str, tuple[int, ...]]:
    n = len(STANCES)
    return {"labels.weight": (n_labels, hidden), "labels.bias": (n_labels,), "stance.weight": (n, hidden), "stance.bias": (n,)}


def assemble(
    fitted: Fitted, taxonomy: Taxonomy, name: str, config: TrainConfig, start: ModelBundle | None, scratch: Path
) -> tuple[ModelBundle, dict[str, Path]]:
    """The bundle of fitted heads over their encoder; with `start`, its own labels first, untouched, and the new ones after them."""
    body, n_new = fitted.body, len(taxonomy)
    hidden = fitted.labels.encoder.weight.shape[1]
    heads = {"labels.weight": fitted.labels.encoder.weight, "labels.bias": fitted.labels.encoder.bias}
    stance = (
        fitted.stance.encoder if fitted.stance else Linear(np.zeros((len(STANCES), hidden), np.float32), np.zeros(len(STANCES), np.float32))
    )
    heads |= {"stance.weight": stance.weight, "stance.bias": stance.bias}
    joined: dict[str, Any] = {}
    if fitted.labels.terms is not None or (fitted.stance is not None and fitted.stance.terms is not None):
        joined = terms_weights(fitted.labels, fitted.stance, n_new)
    calibration, whole = fitted.calibration, taxonomy
    if start is not None:
        heads, joined, calibration, whole = _extended(start, heads, joined, fitted.calibration, taxonomy)
    prefixes = ("difference.", "encoder.")
    encoder = {key: value for key, value in body.weights.items() if key.startswith(prefixes)}
    bundle = ModelBundle(
        name=name,
        taxonomy=whole,
        taxonomy_text=dump(whole),
        kind=body.kind,
        base_model=body.base_model,
        base_sha256=body.base_sha256,
        reading=body.reading,
        calibration=calibration,
        train_config=config,
        metrics={},
        card="Not measured yet.\n",
        weights={**encoder, **heads, **{f"joined.{key}": value for key, value in joined.items()}},
        activation_ranges=body.activation_ranges,
        path=body.path,
    )
    return bundle, _files_of(bundle, scratch)


def terms_weights(labels: Heads, stance: Heads | None, n_labels: int) -> dict[str, Any]:
    """A linear part under `LinearModel`'s names, zeros where nothing is joined."""

    def of(head: Linear | None, n: int) -> tuple[npt.NDArray[np.float16], FloatArray]:
        if head is None:
            return np.zeros((n, N_FEATURES), np.float16), np.zeros(n, np.float32)
        return head.weight.astype(np.float16), head.bias

    (a, b), (c, d) = of(labels.terms, n_labels), of(stance.terms if stance else None, len(STANCES))
    return {"idf": labels.idf, "labels.weight": a, "labels.bias": b, "stance.weight": c, "stance.bias": d}


def _extended(
    start: ModelBundle, heads: dict[str, Any], joined: dict[str, Any], new: Calibration, taxonomy: Taxonomy
) -> tuple[dict[str, Any], dict[str, Any], Calibration, Taxonomy]:
    old_heads, old_part, old = start.heads(), start.linear_part(), start.calibration
    n_old, n_new = len(start.labels), len(taxonomy)
    both = {key: np.concatenate([old_heads[key], heads[key]]) for key in ("labels.weight", "labels.bias")}
    both |= {key: old_heads[key] for key in ("stance.weight", "stance.bias")}
    if old_part is not None or joined:
        zeros = {"labels.weight": np.zeros((n_old, N_FEATURES), np.float16), "labels.bias": np.zeros(n_old, np.float32)}
        zeros |= {"stance.weight": np.zeros((len(STANCES), N_FEATURES), np.float16), "stance.bias": np.zeros(len(STANCES), np.float32)}
        blank = {"labels.weight": np.zeros((n_new, N_FEATURES), np.float16), "labels.bias": np.zeros(n_new, np.float32)}
        before, after = old_part or zeros, joined or blank
        idf = old_part["idf"] if old_part is not None else joined["idf"]
        joined = {"idf": idf} | {key: before[key] for key in ("stance.weight", "stance.bias")}
        joined |= {key: np.concatenate([before[key], after[key]]) for key in ("labels.weight", "labels.bias")}
    points = {
        name: (*old.operating_points[name], *new.operating_points[name]) for name in old.operating_points if name in new.operating_points
    }
    guaranteed = (*old.recall_guaranteed, *new.recall_guaranteed) if old.recall_guaranteed else ()
    calibration = dataclasses.replace(
        old,
        slopes=(*old.slopes, *new.slopes),
        intercepts=(*old.intercepts, *new.intercepts),
        thresholds=(*old.thresholds, *new.thresholds),
        operating_points=points,
        recall_guaranteed=guaranteed,
        # It was fitted to what the old labels flag, and would drop posts that carry a new one.
        screen_threshold=None,
    )
    name = start.taxonomy.name if start.taxonomy.name == taxonomy.name else f"{start.taxonomy.name}+{taxonomy.name}"
    whole = Taxonomy(name, start.taxonomy.version, (*start.taxonomy.labels, *taxonomy.labels))
    return both, joined, calibration, whole


def only_new(taxonomy: Taxonomy, start: ModelBundle) -> Taxonomy:
    """The labels that a bundle lacks.

    Raises:
        ConfigError: it lacks none, or cannot take any.
    """
    if start.kind == "linear":
        raise ConfigError(f"{start.name} is a linear bundle, whose features depend on its labels; train a new one instead of --from")
    if start.calibration.exclusive or taxonomy.single_label:
        raise ConfigError("labels that exclude each other cannot be added to others; train a new bundle without --from")
    new = tuple(label for label in taxonomy if label.id not in start.labels)
    if not new:
        raise ConfigError(
            f"{start.name} has all of these labels already: {', '.join(taxonomy.ids)}. Train without --from to train them again."
        )
    return dataclasses.replace(taxonomy, labels=new)


def _files_of(bundle: ModelBundle, scratch: Path) -> dict[str, Path]:
    """For a bundle with its own graph: the graph with the new heads in it, the tokenizer and the config."""
    if bundle.kind != "whole" or bundle.path is None:
        return {}
    from narratives.training.fit_bundle import export_graph

    target = scratch / "export"
    target.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(bundle.path / name, target / name)
    export_graph(bundle.torch_module(), target / "model.onnx")
    return {name: target / name for name in ("tokenizer.json", "config.json", "model.onnx")}
