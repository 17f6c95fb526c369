"""A bundle in memory: its weights, and what backends run of it.

A bundle of the shipped encoder holds only its difference to that encoder (8 bits a weight); the graph that backends run is
made from both at first use, without torch, and kept in the user's cache folder under the digest of what it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from narratives.backends import FloatArray, RuntimeModel
from narratives.bundle.calibration import Calibration
from narratives.cache import cached
from narratives.config import TrainConfig
from narratives.encoders.shape import GRAPH_VERSION
from narratives.errors import BundleError
from narratives.records import STANCES
from narratives.taxonomy import Taxonomy

if TYPE_CHECKING:
    from narratives.backends.torch import NarrativeModel

_EMBEDDINGS = "embeddings.word_embeddings.weight"
INT8_GRAPH = "int8.onnx"
EMBEDDINGS = "embeddings.bin"
"""The word embeddings, where two graphs of a folder read the same."""
OWN_FILES = ("model.onnx", INT8_GRAPH, EMBEDDINGS, "tokenizer.json", "config.json")
"""What a folder holds of its own where no installed package carries the base model, and in runtime exports."""

WeightKind = Literal["difference", "whole", "linear", "runtime"]
"""difference: 8-bit difference to the shipped encoder; whole: all weights, with model.onnx; linear: TF-IDF weights; runtime: a
difference made into graphs and tokenizer.json (`exports/runtime.py`), without weights to train on."""

Array = npt.NDArray[Any]
Progress = Callable[[str], None]


def _silent(_message: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a text becomes ids: part of what a model is."""

    max_length: int
    prefix: str = ""
    pad_id: int = 0
    latin_kazakh_to_cyrillic: bool = False
    """Whether Kazakh in Latin letters is read in Cyrillic ones (`text/respell.py`)."""


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """A bundle in memory. `weights` are as stored; `encoder_weights` gives them ready to use."""

    name: str
    taxonomy: Taxonomy
    taxonomy_text: str
    kind: WeightKind
    base_model: str
    base_sha256: str
    reading: Reading
    calibration: Calibration
    train_config: TrainConfig
    metrics: Mapping[str, Any]
    card: str
    weights: Mapping[str, Array] = field(repr=False)
    activation_ranges: Mapping[str, Array] = field(default_factory=dict, repr=False)
    """Lowest and highest value of what each linear layer of the encoder takes in (`training/activations.py`); empty: not measured."""
    agreement: Mapping[str, Any] = field(default_factory=dict)
    """For each fast backend, and for the int8 graph (`INT8_GRAPH`, in onnxruntime), the share of decisions in which it differs from
    float32: torch's, or for new labels over the shipped encoder onnxruntime's."""
    digest: str = ""
    path: Path | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.taxonomy.ids

    @property
    def model_id(self) -> str:
        """What an output's `model` column holds: name and digest."""
        return f"{self.name}@{self.digest[:12]}"

    # ---- weights ---------------------------------------------------------------------------------------------------

    def heads(self) -> dict[str, FloatArray]:
        return {name: self.weights[name].astype(np.float32) for name in ("labels.weight", "labels.bias", "stance.weight", "stance.bias")}

    def linear_part(self) -> dict[str, Array] | None:
        """Weights of the TF-IDF model whose logits are added to the encoder's, under `LinearModel`'s names; None: there is none."""
        prefix = "joined."
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)} or None

    def encoder_weights(self, base: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """The base's weights with this bundle's difference added, as the runtime graph has them: linear layers rounded to 8 bits, word
        embeddings of `bundled.kept_ids` only.

        Names as in transformers' `BertModel`.
        """
        from narratives.encoders.bundled import kept_ids
        from narratives.encoders.int8 import rounded

        out = dict(base)
        for key, value in self.weights.items():
            if not key.startswith("difference."):
                continue
            name = key.removeprefix("difference.")
            if name.endswith(".scale"):
                continue
            if name not in out or out[name].shape != value.shape:
                raise BundleError(self.path or self.name, f"weights hold {name!r} {value.shape}, which the base model does not have")
            delta = value.astype(np.float32)
            if f"{key}.scale" in self.weights:
                delta *= self.weights[f"{key}.scale"].astype(np.float32)[:, None]
            out[name] = out[name] + delta
        out[_EMBEDDINGS] = out[_EMBEDDINGS][kept_ids()]
        return rounded(out)

    # ---- what backends run -----------------------------------------------------------------------------------------

    def runtime(self, on_progress: Progress = _silent) -> RuntimeModel:
        """What a backend needs; files are made when it asks for them. `on_progress` gets a line before slow work."""
        is_linear = self.kind == "linear"
        return RuntimeModel(
            labels=self.labels,
            max_length=self.reading.max_length,
            prefix=self.reading.prefix,
            pad_id=self.reading.pad_id,
            graph=None if is_linear else (lambda: self._graph(on_progress)),
            int8_graph=(lambda: self._graph(on_progress, int8=True)) if self.activation_ranges else None,
            tokenizer=None if is_linear else (lambda: self._tokenizer(on_progress)),
            has_int8_weights=self.kind in ("difference", "runtime"),
            torch_module=None if is_linear else self.torch_module,
            linear_weights=(lambda: dict(self.weights)) if is_linear else None,
        )

    def _graph(self, on_progress: Progress, *, int8: bool = False) -> Path:
        name = INT8_GRAPH if int8 else "model.onnx"
        if self.kind in ("whole", "runtime"):
            return self._file(name)
        ranges = self.activation_ranges if int8 else None
        key = hashlib.sha256(f"{self._encoder_digest(ranges or {})}:{self.base_sha256}:{GRAPH_VERSION}".encode()).hexdigest()[:24]

        def make(target: Path) -> None:
            on_progress(f"building the runtime graph of {self.name} (once, some 15 s) …")
            # Imported only here: a cached graph needs neither the ONNX writer nor the base's weights.
            import onnx

            from narratives.encoders import bundled, graph

            shape, base = bundled.read_weights()
            weights, heads = self.encoder_weights(base), self.heads()
            try:
                built = graph.build(shape, weights, heads, activation_ranges=ranges)
            except (KeyError, ValueError) as error:
                raise BundleError(self.path or self.name, f"activations.safetensors does not fit the encoder: {error}") from error
            onnx.save(built, str(target))

        return cached(f"{self.name}-{key}", name, make)

    def _encoder_digest(self, ranges: Mapping[str, Array]) -> str:
        """Of what a graph is made from: bundles that differ in calibration or in their linear part share graphs."""
        digest = hashlib.sha256()
        parts = {name: value for name, value in self.weights.items() if not name.startswith("joined.")}
        for name, value in sorted({**parts, **ranges}.items()):
            digest.update(f"{name}:{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def _tokenizer(self, on_progress: Progress) -> Path:
        if self.kind in ("whole", "runtime"):
            return self._file("tokenizer.json")

        def make(target: Path) -> None:
            on_progress(f"building the tokenizer of {self.base_model} (once) …")
            from narratives.encoders import bundled

            bundled.build_tokenizer(trimmed=True).save(str(target), pretty=False)

        return cached(f"tokenizer-{GRAPH_VERSION}-{self.base_sha256[:24]}", "tokenizer.json", make)

    def own_files(self) -> dict[str, Path]:
        """The files of `OWN_FILES` that its folder holds, by name: what `save_pretrained` is given to keep them."""
        return {name: self.path / name for name in OWN_FILES if self.path is not None and (self.path / name).is_file()}

    def _file(self, name: str) -> Path:
        if self.path is None or not (self.path / name).is_file():
            raise BundleError(self.path or self.name, f"has no {name}")
        return self.path / name

    def torch_module(self) -> NarrativeModel:
        """The encoder and its heads in torch, float32, in evaluation mode, without `linear_part`. Needs `narratives[train]`."""
        if self.kind == "runtime":
            raise BundleError(self.path or self.name, "is a runtime export without torch weights; use the bundle it was made from")
        import torch
        from transformers import AutoConfig, AutoModel

        from narratives.backends.torch import NarrativeModel
        from narratives.encoders import bundled

        if self.kind == "difference":
            encoder: Any = bundled.load_model()[0]
            _shape, base = bundled.read_weights()
            weights = self.encoder_weights(base)
            encoder.set_input_embeddings(torch.nn.Embedding(*weights[_EMBEDDINGS].shape))
            encoder.config.vocab_size = len(weights[_EMBEDDINGS])
            encoder.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
        else:
            config = AutoConfig.from_pretrained(str(self._file("config.json").parent), local_files_only=True, trust_remote_code=False)
            encoder = AutoModel.from_config(config, trust_remote_code=False)
            prefix = "encoder."
            state = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in self.weights.items() if k.startswith(prefix)}
            encoder.load_state_dict(state, strict=False)
        model = NarrativeModel(encoder, n_labels=len(self.labels), n_stances=len(STANCES))
        heads = {k: torch.from_numpy(v) for k, v in self.heads().items()}
        model.load_state_dict(heads, strict=False)
        return model.eval()

    def save_pretrained(self, folder: str | Path, *, extra_files: Mapping[str, Path] | None = None) -> ModelBundle:
        """Write the bundle, whole or not at all, and give it back with its digest.

        Args:
            folder: replaced if it is a bundle; refused if it holds anything else.
            extra_files: files to copy in beside the usual ones: out of `OWN_FILES`.

        Raises:
            BundleError: the folder holds anything else.
        """
        # Reading a folder makes a bundle: that module imports this one.
        from narratives.bundle.folder import save

        return save(self, Path(folder), extra_files or {})


def quantise(difference: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A matrix as int8 with a scale per row; the error is at most 1/254 of the row's largest element."""
    scale = np.maximum(np.abs(difference).max(axis=1) / 127.0, np.finfo(np.float32).tiny)
    return np.round(difference / scale[:, None]).astype(np.int8), scale.astype(np.float32)
