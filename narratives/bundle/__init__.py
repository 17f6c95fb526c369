"""A trained bundle: the folder `models/<name>/`, saved and loaded without pickle.

    bundle.json          the manifest: format, base model, labels, how texts are read, a sha256 for every other file
    taxonomy.toml        the bundle's own copy of its labels
    weights.safetensors  of one of four kinds, see `WeightKind`; `joined.*` is a linear model beside an encoder
    activations.safetensors   what its linear layers take in, at least and at most: for int8 products; where it was measured
    calibration.json     per label: Platt's slope and intercept, threshold; the stance temperature
    train_config.json    the resolved settings it was trained with
    metrics.json         what was measured, on which posts
    README.md            the model card
    tokenizer.json, model.onnx, config.json   for base models that no installed package carries, and runtime exports
    int8.onnx, embeddings.bin   in runtime exports: the graph for int8 products, and what it shares with the other

`model.py` is the bundle in memory and what backends run of it, `folder.py` finds, checks, reads and writes the folder, `calibration.py`
makes probabilities and decisions of logits.
"""

from __future__ import annotations

from narratives.bundle.calibration import Calibration
from narratives.bundle.folder import DEFAULT_NAME, FORMAT, find, load
from narratives.bundle.model import EMBEDDINGS, INT8_GRAPH, ModelBundle, Reading, WeightKind, quantise

__all__ = [
    "DEFAULT_NAME",
    "EMBEDDINGS",
    "FORMAT",
    "INT8_GRAPH",
    "Calibration",
    "ModelBundle",
    "Reading",
    "WeightKind",
    "find",
    "load",
    "quantise",
]
