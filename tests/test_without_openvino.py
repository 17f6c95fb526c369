"""The base install has no OpenVINO: scoring works, and says what would make it faster."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from narratives import ScoreConfig, Scorer, scorer
from narratives.bundle import ModelBundle
from narratives.config import may_have_bfloat16
from narratives.errors import MissingDependency


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "narratives.backends.openvino", raising=False)


@pytest.mark.usefixtures("no_openvino")
def test_auto_takes_onnxruntime_and_tells_of_the_extra(linear_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = dataclasses.replace(linear_bundle, kind="whole", agreement={"openvino": {"flipped_share": 0.0}})
    told: list[str] = []
    monkeypatch.setattr(scorer, "may_have_bfloat16", lambda: True)
    assert scorer.choose_backend(agreeing, told.append) == "onnx"
    assert told == ["this CPU computes in bfloat16: pip install 'narratives[fast]' scores faster"]
    monkeypatch.setattr(scorer, "may_have_bfloat16", lambda: False)
    assert scorer.choose_backend(agreeing, told.append) == "onnx"
    assert len(told) == 1


@pytest.mark.usefixtures("no_openvino")
def test_asking_for_it_names_the_extra(linear_bundle: ModelBundle) -> None:
    with pytest.raises(MissingDependency, match=r"needs the package 'openvino', which is not installed: pip install 'narratives\[fast\]'"):
        Scorer.from_bundle(linear_bundle, config=ScoreConfig(backend="openvino"))


def test_the_cpus_flags_never_deny_what_openvino_finds() -> None:
    openvino = pytest.importorskip("openvino")
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert may_have_bfloat16() >= has_bfloat16
