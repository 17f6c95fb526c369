"""The component in real spaCy pipelines, Russian and Kazakh."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import spacy

from narratives import ScoreConfig, Scorer
from narratives.bundle import ModelBundle
from narratives.errors import BundleError
from narratives.integrations.spacy import SPANS
from tests.conftest import ROOT

RAIN = "Точно говорю: дорога, льёт дождь вчера вечером."
DRY = "Рынок открыт для всех в пятницу."


def pipeline(bundle: ModelBundle, language: str = "ru", **config: object) -> spacy.language.Language:
    nlp = spacy.blank(language)
    nlp.add_pipe("narratives", config={"model": str(bundle.path), **config})
    return nlp


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_a_doc_gets_what_the_scorer_says(linear_bundle: ModelBundle, language: str) -> None:
    text = f"{DRY} {RAIN}"
    [expected] = Scorer.from_bundle(linear_bundle).predict([text])
    doc = pipeline(linear_bundle, language)(text)
    assert doc.cats == dict(expected.probabilities)
    assert doc._.narratives == expected.labels == ("rain",)
    assert doc._.stance == expected.stance == "endorses"
    assert doc._.stance_probabilities == dict(expected.stance_probabilities)
    assert [(s.text, s.label_, s._.weight) for s in doc.spans[SPANS]] == [
        (text[e.start : e.end], e.label, e.weight) for e in expected.evidence
    ]
    assert RAIN in [s.text for s in doc.spans[SPANS]]


def test_a_doc_without_a_narrative_has_no_stance_and_no_span(linear_bundle: ModelBundle) -> None:
    doc = pipeline(linear_bundle)(DRY)
    assert doc._.narratives == ()
    assert doc._.stance is None
    assert len(doc.spans[SPANS]) == 0
    assert set(doc.cats) == {"rain", "snow"}


def test_pipe_keeps_order_over_batches_and_asks_the_model_once_a_batch(linear_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = pipeline(linear_bundle)
    scorer = nlp.get_pipe("narratives").scorer  # type: ignore[attr-defined]
    sizes: list[int] = []
    predict = scorer.predict
    monkeypatch.setattr(scorer, "predict", lambda texts: (sizes.append(len(texts)), predict(texts))[1])
    texts = [RAIN, DRY] * 25
    docs = list(nlp.pipe(texts, batch_size=20))
    assert [doc.text for doc in docs] == texts
    assert [doc._.narratives for doc in docs] == [("rain",), ()] * 25
    assert sizes == [20, 20, 10]


def test_pipe_in_two_processes_gives_the_same(linear_bundle: ModelBundle) -> None:
    nlp = pipeline(linear_bundle)
    texts = [RAIN, DRY, RAIN, DRY]
    here = [doc.cats for doc in nlp.pipe(texts)]
    assert [doc.cats for doc in nlp.pipe(texts, n_process=2, batch_size=2)] == here


def test_labels_and_operating_point_reach_the_scorer(linear_bundle: ModelBundle) -> None:
    doc = pipeline(linear_bundle, labels=["snow"], evidence=False)(RAIN)
    assert doc._.narratives == ()
    config = pipeline(linear_bundle, operating_point="high_recall").get_pipe("narratives").config  # type: ignore[attr-defined]
    assert config == ScoreConfig(operating_point="high_recall")


def test_a_saved_pipeline_needs_no_other_file(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    moved = linear_bundle.save_pretrained(tmp_path / "model")
    nlp = pipeline(moved, "kk")
    expected = nlp(RAIN)
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "model").rename(tmp_path / "gone")
    loaded = spacy.load(tmp_path / "pipeline")
    assert loaded.lang == "kk"
    assert loaded(RAIN).cats == expected.cats
    loaded.to_disk(tmp_path / "pipeline")  # onto itself
    loaded.to_disk(tmp_path / "second")
    assert spacy.load(tmp_path / "second")(RAIN).cats == expected.cats


def test_a_missing_model_is_named_when_it_is_needed(linear_bundle: ModelBundle) -> None:
    nlp = spacy.blank("ru")
    nlp.add_pipe("narratives", config={"model": "absent"})
    with pytest.raises(BundleError, match="absent: no such folder, and no bundle of that name is shipped"):
        nlp(RAIN)


def test_the_component_travels_without_its_engine(linear_bundle: ModelBundle) -> None:
    nlp = pipeline(linear_bundle)
    expected = nlp(RAIN).cats
    copy = pickle.loads(pickle.dumps(nlp.get_pipe("narratives")))
    assert copy._scorer is None
    assert copy(spacy.blank("ru")(RAIN)).cats == expected


def test_installed_spacy_finds_both_by_their_entry_points(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    info = tmp_path / "narratives_entries-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: narratives-entries\nVersion: 1\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()) for group, values in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    code = (
        "import sys, spacy\n"
        "nlp = spacy.blank('kk'); nlp.add_pipe('narratives', config={'model': sys.argv[1]})\n"
        "print(type(nlp).__name__, nlp(sys.argv[2])._.narratives)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", code, str(linear_bundle.path), RAIN]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "Kazakh ('rain',)"


# ---- the Kazakh language ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Қазақстан халқы.", ["Қазақстан", "халқы", "."]),
        ("Бұл НАТО-ның базасы емес.", ["Бұл", "НАТО-ның", "базасы", "емес", "."]),
        ("2023 ж. қазанда ашылды.", ["2023", "ж.", "қазанда", "ашылды", "."]),
        ("орман,көл және т.б. бар", ["орман", ",", "көл", "және", "т.б.", "бар"]),
        ("«Ақорда» хабарлады!", ["«", "Ақорда", "»", "хабарлады", "!"]),
        ("Облыс.Қала", ["Облыс", ".", "Қала"]),
        ("бағасы 5 мың теңге", ["бағасы", "5", "мың", "теңге"]),
    ],
)
def test_kazakh_is_cut_into_words(text: str, tokens: list[str]) -> None:
    doc = spacy.blank("kk")(text)
    assert [token.text for token in doc] == tokens
    assert doc.text == text


def test_kazakh_knows_numbers_and_stop_words() -> None:
    doc = spacy.blank("kk")("жиырма бес 3/4 12,5 үй және")
    assert [token.like_num for token in doc] == [True, True, True, True, False, False]
    assert doc[-1].is_stop
    assert not doc[-2].is_stop
