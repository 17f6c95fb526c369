"""The folder of a bundle: found by name, written whole or not at all, read only if every file is what the manifest says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load_file, save_file

from narratives import taxonomy as taxonomies
from narratives.backends.terms import N_FEATURES
from narratives.bundle.calibration import Calibration
from narratives.bundle.model import INT8_GRAPH, ModelBundle, Reading
from narratives.cache import sha256
from narratives.config import TrainConfig
from narratives.encoders.bundled import SHA256 as BASE_SHA256
from narratives.errors import BundleError, NarrativesError
from narratives.records import STANCES

FORMAT = 1
DEFAULT_NAME = "kazakhstan-e5-small"
_MAX_WEIGHT_BYTES = 4 * 2**30
_RANGES = "activations.safetensors"
_REQUIRED = ("taxonomy.toml", "weights.safetensors", "calibration.json", "train_config.json", "metrics.json", "README.md")


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
    ranges = _load_weights(path / _RANGES) if _RANGES in files else {}
    if manifest.get("kind") == "runtime":
        for name in ("model.onnx", "tokenizer.json", *([INT8_GRAPH] if ranges else [])):
            if name not in files:
                raise BundleError(path, f"is a runtime export, and bundle.json lists no {name}; export it again")
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
            activation_ranges=ranges,
            agreement=manifest.get("agreement", {}),
            digest=_digest(manifest),
            path=path,
        )
    except (KeyError, TypeError, NarrativesError) as error:
        raise BundleError(path, f"malformed: {error}") from error
    _check_heads(bundle, path)
    return bundle


def save(bundle: ModelBundle, folder: Path, extra_files: Mapping[str, Path]) -> ModelBundle:
    """As `ModelBundle.save_pretrained`."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "bundle.json").is_file():
        raise BundleError(folder, "exists and is no bundle; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (scratch / "taxonomy.toml").write_text(bundle.taxonomy_text, encoding="utf-8")
        save_file({k: np.ascontiguousarray(v) for k, v in bundle.weights.items()}, scratch / "weights.safetensors")
        if bundle.activation_ranges:
            save_file({k: np.ascontiguousarray(v) for k, v in bundle.activation_ranges.items()}, scratch / _RANGES)
            (scratch / _RANGES).chmod(0o644)
        _write_json(scratch / "calibration.json", {"labels": list(bundle.labels), **asdict(bundle.calibration)})
        _write_json(scratch / "train_config.json", bundle.train_config.to_dict())
        _write_json(scratch / "metrics.json", bundle.metrics)
        (scratch / "weights.safetensors").chmod(0o644)  # made as a private temporary file
        (scratch / "README.md").write_text(bundle.card, encoding="utf-8")
        for name, source in extra_files.items():
            shutil.copyfile(source, scratch / name)
        files = {p.name: sha256(p) for p in sorted(scratch.iterdir())}
        _write_json(
            scratch / "bundle.json",
            {
                "format": FORMAT,
                "name": folder.name,
                "kind": bundle.kind,
                "base_model": bundle.base_model,
                "base_sha256": bundle.base_sha256,
                "labels": list(bundle.labels),
                "reading": asdict(bundle.reading),
                "agreement": dict(bundle.agreement),
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
    for name, value in bundle.activation_ranges.items():
        if bundle.kind not in ("difference", "runtime"):
            raise BundleError(path, f"holds {_RANGES}, and a bundle of kind {bundle.kind} has no use for it")
        if value.ndim != 2 or value.shape[0] != 2 or not np.isfinite(value).all() or (value[0] > value[1]).any():
            raise BundleError(path, f"{_RANGES}: {name} {value.shape} is no lowest and highest value for each input")
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
        if "screen.labels" in part:
            shapes["screen.labels"] = (1,)
        if not np.isfinite(bundle.calibration.screen_threshold):
            raise BundleError(path, "calibration.json: expected a finite screen_threshold")
    for name, shape in {"idf": (N_FEATURES,), **shapes}.items():
        if name not in part or part[name].shape != shape:
            raise BundleError(path, f"weights.safetensors: joined.{name} is missing or not of shape {shape}")


def _load_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
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
