"""What a frozen encoder sees in a text: its mean-pooled last states, by the graph that will score, so that heads fitted on them fit it.
(A bundle with ranges of activations scores with its int8 graph where the CPU computes in bfloat16; heads are fitted without that rounding,
and training checks how many decisions it changes.)

The runtime graph of the shipped encoder, or of a trained bundle, gets heads that pass the pooled vector through. Features of a set of
texts are kept in the user's cache folder: training again with other labels costs seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from narratives import plugins
from narratives.backends import Backend
from narratives.bundle import Calibration, ModelBundle, Reading
from narratives.cache import cached
from narratives.config import ScoreConfig, TrainConfig
from narratives.encoders import bundled
from narratives.records import STANCES, Post
from narratives.taxonomy import Label, Taxonomy
from narratives.text.normalize import normalize
from narratives.text.respell import latin_kazakh_to_cyrillic

FloatArray = npt.NDArray[np.float32]
Pool = Callable[[Sequence[str]], FloatArray]
"""Texts as models read them (`read_texts`) -> their features, shape (n_texts, hidden)."""


def read_texts(posts: Sequence[Post]) -> list[str]:
    """Posts as models read them: cleaned, Kazakh in Latin letters in Cyrillic ones."""
    return [latin_kazakh_to_cyrillic(normalize(post.text).text) for post in posts]


def base_bundle(max_length: int = 512) -> ModelBundle:
    """The shipped encoder as a bundle that nobody trained: no difference, and heads without a label."""
    return ModelBundle(
        name="base",
        taxonomy=Taxonomy("none", 1, ()),
        taxonomy_text="",
        kind="difference",
        base_model=bundled.NAME,
        base_sha256=bundled.SHA256,
        reading=Reading(max_length=max_length, prefix=bundled.PREFIX, pad_id=bundled.PAD_ID, latin_kazakh_to_cyrillic=True),
        calibration=Calibration.identity(0),
        train_config=TrainConfig(),
        metrics={},
        card="",
        weights={},
    )


def pool_with(bundle: ModelBundle) -> Pool:
    """A function that gives features of texts by a bundle's encoder; only the first window of a long text is read.

    Args:
        bundle: of kind "difference" or "whole". The second has its graph with its heads in it, so torch reads it: slower.
    """
    if bundle.kind == "whole":
        return _pool_with_torch(bundle)
    passing = _passing(bundle)
    loaded: list[Backend] = []

    def pool(texts: Sequence[str]) -> FloatArray:
        if not texts:
            return np.zeros((0, len(passing.labels)), dtype=np.float32)
        key = hashlib.sha256("\0".join([passing._encoder_digest({}), str(bundle.reading), *texts]).encode()).hexdigest()[:32]

        def make(target: Path) -> None:
            if not loaded:
                loaded.append(_backend(passing))
            with target.open("wb") as stream:
                np.save(stream, loaded[0].logits(texts).labels)

        return cast(FloatArray, np.load(cached(f"features-{key}", "features.npy", make), allow_pickle=False))

    return pool


def _passing(bundle: ModelBundle) -> ModelBundle:
    """The bundle with heads whose logits are the pooled vector."""
    from narratives.encoders.bundled import read_packed

    hidden = read_packed().shape.hidden
    encoder = {name: value for name, value in bundle.weights.items() if name.startswith("difference.")}
    heads = {
        "labels.weight": np.eye(hidden, dtype=np.float32),
        "labels.bias": np.zeros(hidden, dtype=np.float32),
        "stance.weight": np.zeros((len(STANCES), hidden), dtype=np.float32),
        "stance.bias": np.zeros(len(STANCES), dtype=np.float32),
    }
    names = tuple(Label(f"d{i}", {}, {}, {}) for i in range(hidden))
    # Without ranges, so that features are not rounded on some machines alone.
    return dataclasses.replace(
        bundle, name="features", taxonomy=Taxonomy("features", 1, names), weights={**encoder, **heads}, activation_ranges={}
    )


def _backend(bundle: ModelBundle) -> Backend:
    from narratives.backends.openvino import has_bfloat16

    name = "openvino" if has_bfloat16() else "onnx"
    return cast(Backend, plugins.load("backend", plugins.BACKENDS, name)(bundle.runtime(), ScoreConfig()))


def _pool_with_torch(bundle: ModelBundle) -> Pool:
    import torch

    from narratives.backends.batching import TextEncoder

    runtime = bundle.runtime()
    if runtime.tokenizer is None:
        raise ValueError("a bundle of kind 'whole' has a tokenizer")
    model = bundle.torch_module()
    reading = bundle.reading
    encoder = TextEncoder(
        runtime.tokenizer(), prefix=reading.prefix, max_length=reading.max_length, pad_id=reading.pad_id, batch_tokens=1024
    )

    def pool(texts: Sequence[str]) -> FloatArray:
        found = np.zeros((len(texts), model.labels.in_features), dtype=np.float32)
        with torch.inference_mode():
            for batch in encoder.batches(texts):
                found[batch.rows] = model.pool(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)).numpy()
        return found

    return pool
