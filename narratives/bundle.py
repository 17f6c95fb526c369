"""A trained bundle: the folder `models/<name>/`, saved and loaded without pickle.

    bundle.json          the manifest: format, base model, labels, how texts are read, a sha256 for every other file
    taxonomy.toml        the bundle's own copy of its labels
    weights.safetensors  of one of four kinds, see `WeightKind`; `joined.*` is a linear model beside an encoder
    calibration.json     per label: Platt's slope and intercept, threshold; the stance temperature
    train_config.json    the resolved settings it was trained with
    metrics.json         what was measured, on which posts
    README.md            the model card
    tokenizer.json, model.onnx, config.json   for base models that no installed package carries, and runtime exports

A bundle of the shipped encoder holds only its difference to that encoder (8 bits a weight); the graph that backends run is
made from both at first use, without torch, and kept in the user's cache folder under the digest of what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load_file, save_file

from narratives import taxonomy as taxonomies
from narratives.backends import FloatArray, RuntimeModel
from narratives.backends.terms import N_FEATURES
from narratives.cache import cached, sha256
from narratives.config import OperatingPoint, TrainConfig
from narratives.encoders.bundled import SHA256 as BASE_SHA256
from narratives.encoders.shape import GRAPH_VERSION
from narratives.errors import BundleError, ConfigError, NarrativesError
from narratives.records import STANCES
from narratives.taxonomy import Taxonomy

if TYPE_CHECKING:
    from narratives.backends.torch import NarrativeModel

FORMAT = 1
DEFAULT_NAME = "kazakhstan-e5-small"
_MAX_WEIGHT_BYTES = 4 * 2**30
_EMBEDDINGS = "embeddings.word_embeddings.weight"
_REQUIRED = ("taxonomy.toml", "weights.safetensors", "calibration.json", "train_config.json", "metrics.json", "README.md")

WeightKind = Literal["difference", "whole", "linear", "runtime"]
"""difference: 8-bit difference to the shipped encoder; whole: all weights, with model.onnx; linear: TF-IDF weights; runtime: a
difference made into model.onnx and tokenizer.json (`exports/runtime.py`), without weights to train on."""

Array = npt.NDArray[Any]
Progress = Callable[[str], None]


def _silent(_message: str) -> None:
    pass


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
    agreement: Mapping[str, Any] = field(default_factory=dict)
    """The check of fast backends against torch in float32: share of flipped decisions for each."""
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
            tokenizer=None if is_linear else (lambda: self._tokenizer(on_progress)),
            has_int8_weights=self.kind in ("difference", "runtime"),
            torch_module=None if is_linear else self.torch_module,
            linear_weights=(lambda: dict(self.weights)) if is_linear else None,
        )

    def _graph(self, on_progress: Progress) -> Path:
        if self.kind in ("whole", "runtime"):
            return self._file("model.onnx")
        key = hashlib.sha256(f"{self._encoder_digest()}:{self.base_sha256}:{GRAPH_VERSION}".encode()).hexdigest()[:24]

        def make(target: Path) -> None:
            on_progress(f"building the runtime graph of {self.name} (once, some 15 s) …")
            # Imported only here: a cached graph needs neither the ONNX writer nor the base's weights.
            import onnx

            from narratives.encoders import bundled, graph

            shape, base = bundled.read_weights()
            onnx.save(graph.build(shape, self.encoder_weights(base), self.heads()), str(target))

        return cached(f"{self.name}-{key}", "model.onnx", make)

    def _encoder_digest(self) -> str:
        """Of the weights the graph is made from: bundles that differ in calibration or in their linear part share a graph."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            if not name.startswith("joined."):
                digest.update(f"{name}:{self.weights[name].shape}".encode())
                digest.update(np.ascontiguousarray(self.weights[name]).data)
        return digest.hexdigest()

    def _tokenizer(self, on_progress: Progress) -> Path:
        if self.kind in ("whole", "runtime"):
            return self._file("tokenizer.json")

        def make(target: Path) -> None:
            on_progress(f"building the tokenizer of {self.base_model} (once) …")
            from narratives.encoders import bundled

            bundled.build_tokenizer(trimmed=True).save(str(target), pretty=False)

        return cached(f"tokenizer-{GRAPH_VERSION}-{self.base_sha256[:24]}", "tokenizer.json", make)

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

    # ---- save ------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, extra_files: Mapping[str, Path] | None = None) -> ModelBundle:
        """Write the bundle, whole or not at all, and give it back with its digest.

        Args:
            folder: replaced if it is a bundle; refused if it holds anything else.
            extra_files: files to copy in beside the usual ones: model.onnx, tokenizer.json, config.json.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / "bundle.json").is_file():
            raise BundleError(folder, "exists and is no bundle; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            (scratch / "taxonomy.toml").write_text(self.taxonomy_text, encoding="utf-8")
            save_file({k: np.ascontiguousarray(v) for k, v in self.weights.items()}, scratch / "weights.safetensors")
            _write_json(scratch / "calibration.json", {"labels": list(self.labels), **asdict(self.calibration)})
            _write_json(scratch / "train_config.json", self.train_config.to_dict())
            _write_json(scratch / "metrics.json", self.metrics)
            (scratch / "weights.safetensors").chmod(0o644)  # made as a private temporary file
            (scratch / "README.md").write_text(self.card, encoding="utf-8")
            for name, source in (extra_files or {}).items():
                shutil.copyfile(source, scratch / name)
            files = {p.name: sha256(p) for p in sorted(scratch.iterdir())}
            _write_json(
                scratch / "bundle.json",
                {
                    "format": FORMAT,
                    "name": folder.name,
                    "kind": self.kind,
                    "base_model": self.base_model,
                    "base_sha256": self.base_sha256,
                    "labels": list(self.labels),
                    "reading": asdict(self.reading),
                    "agreement": dict(self.agreement),
                    "files": files,
                },
            )
            if folder.exists():
                old = folder.with_name(f".{folder.name}-old-{os.getpid()}")
                folder.rename(old)
                scratch.rename(folder)
                shutil.rmtree(old)
            else:
                scratch.rename(folder)
            folder.chmod(0o755)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return load(folder)


def find(name_or_path: str | Path | None = None) -> Path:
    """The folder of a bundle: a path, or the name of a shipped one (`None`: the default).

    Raises:
        BundleError: there is none.
    """
    if name_or_path is not None and Path(name_or_path).is_dir():
        return Path(name_or_path)
    name = str(name_or_path or DEFAULT_NAME)
    shipped = Path(str(resources.files("narratives"))) / "models"
    checkout = Path(str(resources.files("narratives"))).parent / "models"
    for root in (shipped, checkout):
        if re.fullmatch(r"[\w.\-]+", name) and (root / name / "bundle.json").is_file():
            return root / name
    raise BundleError(
        name, f"no such folder, and no bundle of that name is shipped; expected a folder made by `narratives train`, or {DEFAULT_NAME}"
    )


def load(name_or_path: str | Path | None = None) -> ModelBundle:
    """Read and check a bundle.

    Raises:
        BundleError: a file is missing, changed, malformed, or of another format.
    """
    path = find(name_or_path)
    manifest = _read_json(path, "bundle.json")
    if manifest.get("format") != FORMAT:
        raise BundleError(path, f"format {manifest.get('format')!r}, expected {FORMAT}; train it again or update narratives")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(path, "bundle.json lists no files")
    for name in _REQUIRED:
        if name not in files:
            raise BundleError(path, f"bundle.json lists no {name}")
    for name, expected in files.items():
        if not re.fullmatch(r"[\w\-]+\.\w+", name) or not (path / name).is_file():
            raise BundleError(path, f"{name} is missing; the bundle is incomplete")
        if (path / name).stat().st_size > _MAX_WEIGHT_BYTES:
            raise BundleError(path, f"{name} is larger than {_MAX_WEIGHT_BYTES // 2**30} GB")
        # The card is for people: an edited word in it does not change what the model does.
        if name != "README.md" and (found := sha256(path / name)) != expected:
            raise BundleError(path, f"{name} has sha256 {found[:12]}…, bundle.json says {str(expected)[:12]}…; it was changed or damaged")
    taxonomy_text = (path / "taxonomy.toml").read_text(encoding="utf-8")
    taxonomy = taxonomies.parse(taxonomy_text, str(path / "taxonomy.toml"))
    calibration = _read_json(path, "calibration.json")
    if not (list(taxonomy.ids) == manifest.get("labels") == calibration.pop("labels", None)):
        raise BundleError(path, "bundle.json, taxonomy.toml and calibration.json list different labels or another order")
    weights = _load_weights(path / "weights.safetensors")
    try:
        bundle = ModelBundle(
            name=str(manifest["name"]),
            taxonomy=taxonomy,
            taxonomy_text=taxonomy_text,
            kind=manifest["kind"],
            base_model=str(manifest["base_model"]),
            base_sha256=str(manifest["base_sha256"]),
            reading=Reading(**manifest["reading"]),
            calibration=Calibration(
                tuple(calibration["slopes"]),
                tuple(calibration["intercepts"]),
                tuple(calibration["thresholds"]),
                float(calibration["stance_temperature"]),
                {name: tuple(values) for name, values in calibration.get("operating_points", {}).items()},
                tuple(calibration.get("recall_guaranteed", ())),
                calibration.get("screen_threshold"),
                calibration.get("exclusive", ""),
                calibration.get("has_stance", True),
            ),
            train_config=TrainConfig.from_dict(_read_json(path, "train_config.json")),
            metrics=_read_json(path, "metrics.json"),
            card=(path / "README.md").read_text(encoding="utf-8"),
            weights=weights,
            agreement=manifest.get("agreement", {}),
            digest=_digest(manifest),
            path=path,
        )
    except (KeyError, TypeError, NarrativesError) as error:
        raise BundleError(path, f"malformed: {error}") from error
    _check_heads(bundle, path)
    return bundle


def _check_heads(bundle: ModelBundle, path: Path) -> None:
    if not re.fullmatch(r"[\w.\-]+", bundle.name):
        raise BundleError(path, f"name {bundle.name!r}; expected letters, digits, dots and dashes: it becomes a folder of the cache")
    if bundle.kind == "difference" and bundle.base_sha256 != BASE_SHA256:
        raise BundleError(
            path, f"is a difference to a base model with sha256 {bundle.base_sha256[:12]}…, this version ships {BASE_SHA256[:12]}…"
        )
    n = len(bundle.labels)
    for name, rows in (("labels", n), ("stance", len(STANCES))):
        weight, bias = bundle.weights.get(f"{name}.weight"), bundle.weights.get(f"{name}.bias")
        if weight is None or bias is None or weight.ndim != 2 or weight.shape[0] != rows or bias.shape != (rows,):
            raise BundleError(path, f"weights.safetensors: the {name} head does not have {rows} rows")
    _check_linear_part(bundle, path)
    if bundle.kind == "linear":
        for name, shape in (("idf", (N_FEATURES,)), ("labels.weight", (n, N_FEATURES)), ("stance.weight", (len(STANCES), N_FEATURES))):
            if name not in bundle.weights or bundle.weights[name].shape != shape:
                raise BundleError(path, f"weights.safetensors: {name} is missing or not of shape {shape}")
    calibration = bundle.calibration
    for values in (calibration.slopes, calibration.intercepts, calibration.thresholds, *calibration.operating_points.values()):
        if len(values) != n or not np.isfinite(values).all():
            raise BundleError(path, f"calibration.json: expected {n} finite numbers for each setting")
    if calibration.exclusive not in ("", "one", "at most one"):
        raise BundleError(path, f"calibration.json: exclusive is {calibration.exclusive!r}, expected '', 'one' or 'at most one'")
    if bundle.kind not in ("difference", "whole", "linear", "runtime"):
        raise BundleError(path, f"kind {bundle.kind!r}, expected difference, whole, linear or runtime")


def _check_linear_part(bundle: ModelBundle, path: Path) -> None:
    part = bundle.linear_part()
    if part is None:
        if bundle.calibration.screen_threshold is not None:
            raise BundleError(path, "calibration.json has a screen_threshold, weights.safetensors no screen")
        return
    n, width = len(bundle.labels), part["idf"].shape[0] if "idf" in part else 0
    shapes = {"labels.weight": (n, width), "labels.bias": (n,), "stance.weight": (len(STANCES), width), "stance.bias": (len(STANCES),)}
    if bundle.calibration.screen_threshold is not None:
        shapes |= {"screen.weight": (1, width), "screen.bias": (1,)}
        if not np.isfinite(bundle.calibration.screen_threshold):
            raise BundleError(path, "calibration.json: expected a finite screen_threshold")
    for name, shape in {"idf": (N_FEATURES,), **shapes}.items():
        if name not in part or part[name].shape != shape:
            raise BundleError(path, f"weights.safetensors: joined.{name} is missing or not of shape {shape}")


def _load_weights(path: Path) -> dict[str, Array]:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise BundleError(path, f"is no readable safetensors file: {error}") from error


def _digest(manifest: Mapping[str, Any]) -> str:
    """What the model computes, not what its card or metrics say of it."""
    files = manifest["files"]
    parts = [f"{name}={files[name]}" for name in sorted(files) if name not in {"README.md", "metrics.json", "train_config.json"}]
    parts += [str(manifest["kind"]), str(manifest["base_sha256"]), json.dumps(manifest["reading"], sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def quantise(difference: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """A matrix as int8 with a scale per row; the error is at most 1/254 of the row's largest element."""
    scale = np.maximum(np.abs(difference).max(axis=1) / 127.0, np.finfo(np.float32).tiny)
    return np.round(difference / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(folder, f"{name} is missing; expected a folder made by `narratives train`") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(folder, f"{name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(folder, f"{name} holds {type(value).__name__}, expected an object")
    return value
