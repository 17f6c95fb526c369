"""A damaged or foreign bundle is refused with a clear error before anything is scored."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from narratives import bundle as bundles
from narratives.bundle import Calibration, ModelBundle, quantise
from narratives.cache import cached, sha256
from narratives.errors import BundleError


@pytest.fixture
def copy(tmp_path: Path, linear_bundle: ModelBundle) -> Path:
    assert linear_bundle.path is not None
    shutil.copytree(linear_bundle.path, tmp_path / "copy")
    return tmp_path / "copy"


def edit_json(name: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / name).read_text("utf-8"))
        change(value)
        (folder / name).write_text(json.dumps(value), "utf-8")

    return edit


def reseal(folder: Path) -> None:
    """Give the manifest the digests of the files as they are: damage that digests alone would not show."""
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    (folder / "bundle.json").write_text(json.dumps(manifest), "utf-8")


def test_what_is_saved_is_what_is_loaded(copy: Path, linear_bundle: ModelBundle) -> None:
    loaded = bundles.load(copy)
    assert loaded.digest == linear_bundle.digest
    assert loaded.labels == ("rain", "snow")
    assert loaded.calibration == linear_bundle.calibration
    assert all(np.array_equal(loaded.weights[name], value) for name, value in linear_bundle.weights.items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "bundle.json").unlink(), r"bundle\.json is missing"),
        (lambda f: (f / "bundle.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "weights.safetensors").unlink(), r"weights\.safetensors is missing; the bundle is incomplete"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 50), r"weights\.safetensors has sha256 .* it was changed or damaged"),
        (lambda f: (f / "taxonomy.toml").write_text('[[label]]\nid = "snow"'), r"taxonomy\.toml has sha256"),
        (edit_json("bundle.json", lambda m: m.update(format=99)), "format 99, expected 1"),
        (edit_json("bundle.json", lambda m: m.pop("files")), "lists no files"),
        (edit_json("bundle.json", lambda m: m.update(labels=["snow", "rain"])), "list different labels or another order"),
        (edit_json("bundle.json", lambda m: m["files"].update({"../../etc/passwd": "0"})), "is missing"),  # type: ignore[attr-defined]
    ],
)
def test_damage_is_named(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(BundleError, match=message):
        bundles.load(copy)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"\xff" * 64), "no readable safetensors file"),
        (edit_json("calibration.json", lambda c: c.update(thresholds=[0.5])), "expected 2 finite numbers"),
        (edit_json("calibration.json", lambda c: c.update(labels=["snow", "rain"])), "list different labels or another order"),
        (edit_json("train_config.json", lambda c: c.update(surprise=1)), "unknown setting 'surprise'"),
        (edit_json("bundle.json", lambda m: m.update(kind="pickle")), "kind 'pickle', expected difference, whole, linear or runtime"),
        (
            edit_json("bundle.json", lambda m: m.update(kind="difference", base_sha256="0" * 64)),
            "is a difference to a base model with sha256",
        ),
        (edit_json("bundle.json", lambda m: m.update(name="../../elsewhere")), "it becomes a folder of the cache"),
    ],
)
def test_damage_under_right_digests_is_named_too(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    reseal(copy)
    with pytest.raises(BundleError, match=message):
        bundles.load(copy)


def test_a_head_of_another_size_is_refused(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copy / "weights.safetensors")
    weights["labels.weight"] = np.zeros((3, weights["labels.weight"].shape[1]), dtype=np.float16)
    save_file(weights, copy / "weights.safetensors")
    reseal(copy)
    with pytest.raises(BundleError, match="the labels head does not have 2 rows"):
        bundles.load(copy)


def test_ranges_of_activations_come_back_and_make_another_model(tmp_path: Path) -> None:
    ranges = {"encoder.layer.0.output.dense": np.array([[-0.5, 0.0], [2.0, 3.0]], dtype=np.float16)}
    shipped = bundles.load()
    saved = dataclasses.replace(shipped, activation_ranges=ranges).save_pretrained(tmp_path / "ranged")
    np.testing.assert_array_equal(saved.activation_ranges["encoder.layer.0.output.dense"], [[-0.5, 0], [2, 3]])
    assert saved.digest != shipped.digest
    without = dataclasses.replace(shipped, activation_ranges={}).save_pretrained(tmp_path / "without")
    assert not without.activation_ranges
    assert without.runtime().int8_graph is None


@pytest.mark.parametrize("bad", [[[1.0, 0.0], [0.0, 1.0]], [[0.0, np.nan], [1.0, 1.0]], [[0.0, 1.0]]])
def test_ranges_that_are_none_are_refused(tmp_path: Path, bad: list[list[float]]) -> None:
    ranged = dataclasses.replace(bundles.load(), activation_ranges={"encoder.layer.0.output.dense": np.array(bad, dtype=np.float16)})
    with pytest.raises(BundleError, match=r"activations\.safetensors: encoder\.layer\.0\.output\.dense .* is no lowest and highest value"):
        ranged.save_pretrained(tmp_path / "ranged")


def test_ranges_that_nothing_can_use_are_refused(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    ranged = dataclasses.replace(linear_bundle, activation_ranges=dict(bundles.load().activation_ranges))
    with pytest.raises(BundleError, match=r"holds activations\.safetensors, and a bundle of kind linear has no use for it"):
        ranged.save_pretrained(tmp_path / "ranged")


def test_ranges_of_another_encoder_are_refused_when_the_graph_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATIVES_CACHE", str(tmp_path))
    ranges = {name: value[:, :5] for name, value in bundles.load().activation_ranges.items()}
    runtime = dataclasses.replace(bundles.load(), activation_ranges=ranges).runtime()
    assert runtime.int8_graph is not None
    with pytest.raises(BundleError, match=r"activations\.safetensors does not fit the encoder"):
        runtime.int8_graph()


def test_a_linear_model_of_another_width_is_refused(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copy / "weights.safetensors")
    weights["idf"] = weights["idf"][:-1]
    save_file(weights, copy / "weights.safetensors")
    reseal(copy)
    with pytest.raises(BundleError, match=r"idf is missing or not of shape \(131072,\)"):
        bundles.load(copy)


def test_a_tensor_that_claims_to_be_huge_is_refused_unread(copy: Path) -> None:
    """A header of 2**50 bytes of floats in a file of a few: nothing is allocated for it."""
    header = json.dumps({"labels.weight": {"dtype": "F32", "shape": [2, 2**47], "data_offsets": [0, 2**50]}}).encode()
    (copy / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    reseal(copy)
    with pytest.raises(BundleError, match="no readable safetensors file"):
        bundles.load(copy)


def test_a_file_of_more_than_4_gigabytes_is_refused_before_it_is_read(copy: Path) -> None:
    with (copy / "weights.safetensors").open("r+b") as stream:
        stream.truncate(4 * 2**30 + 1)  # a sparse file: no byte of it is on the disk
    with pytest.raises(BundleError, match=r"weights\.safetensors is larger than 4 GB"):
        bundles.load(copy)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64])
def test_a_damaged_bundle_is_refused_before_anything_is_scored(tmp_path: Path, copy: Path, damage: bytes) -> None:
    from typer.testing import CliRunner

    from narratives.cli import app

    (copy / "weights.safetensors").write_bytes(damage)
    (tmp_path / "in.jsonl").write_text('{"text": "да"}\n', "utf-8")
    done = CliRunner().invoke(app, ["score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.parquet"), "--model", str(copy)])
    assert isinstance(done.exception, BundleError)
    assert "it was changed or damaged" in str(done.exception)
    assert not list(tmp_path.glob("out*"))


def test_an_edited_card_does_not_change_the_model(copy: Path, linear_bundle: ModelBundle) -> None:
    (copy / "README.md").write_text("other words", "utf-8")
    assert bundles.load(copy).digest == linear_bundle.digest


def test_a_folder_that_is_no_bundle_is_not_overwritten(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        linear_bundle.save_pretrained(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_an_unknown_name_says_what_to_give() -> None:
    with pytest.raises(BundleError, match="no such folder, and no bundle of that name is shipped"):
        bundles.load("absent-model")


def test_eight_bits_keep_a_difference_to_half_a_percent_of_its_largest() -> None:
    delta = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    quantised, scale = quantise(delta)
    error = np.abs(quantised * scale[:, None] - delta).max(axis=1)
    assert (error <= np.abs(delta).max(axis=1) / 254 + 1e-7).all()


def test_probabilities_are_finite_for_any_logit() -> None:
    calibration = Calibration.identity(2)
    p = calibration.probabilities(np.array([[1e9, -1e9]], dtype=np.float32))
    assert p.tolist() == [[1.0, pytest.approx(0.0)]]
    assert calibration.stance_probabilities(np.array([[1e4, 0, -1e4]], dtype=np.float32)).sum() == pytest.approx(1.0)


def test_a_damaged_cache_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATIVES_CACHE", str(tmp_path))
    made = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text("whole")

    path = cached("key", "file.txt", make)
    assert cached("key", "file.txt", make) == path
    assert len(made) == 1
    path.write_text("damaged")
    assert cached("key", "file.txt", make).read_text() == "whole"
    assert len(made) == 2
