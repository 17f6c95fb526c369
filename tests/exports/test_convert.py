"""`narratives convert`, each format read by the library of the program that it is for."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from narratives import plugins
from narratives.errors import ConfigError, InputError, RecordError, UnknownName
from narratives.exports.convert import convert
from narratives.records import Evidence, Post, Prediction
from narratives.taxonomy import load, parse
from narratives.training.loaders import read_annotated
from narratives.writers.disarm import TECHNIQUES
from narratives.writers.parquet import ParquetWriter
from narratives.writers.table import to_batch
from tests.conftest import ROOT

LABELS = ("us_nato_conflation", "call_for_retaliation", "own_label")
WHEN = datetime(2023, 10, 6, 9, 30, tzinfo=UTC)
CLAIM = "🛑 Под Алматы открыли базу НАТО."
ANSWER = "Москва должна ответить <script>alert(1)</script>."


def prediction(text: str, number: int, labels: tuple[str, ...], stance: str | None, **post: object) -> Prediction:
    evidence = tuple(Evidence(label, 0, len(text), 1.0) for label in labels)
    probabilities = {label: 0.9 - 0.1 * i if label in labels else 0.01 for i, label in enumerate(LABELS)}
    stances = {s: 0.8 if s == stance else 0.1 for s in ("endorses", "reports", "refutes")}
    return Prediction(Post(text=text, id=str(number), **post), labels, probabilities, stance, stances, evidence, "ru", model="m@1")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scored") / "out.parquet"
    writer = ParquetWriter(path, LABELS)
    rows = [
        prediction(CLAIM, 1, ("us_nato_conflation",), "endorses", channel="Канал", published_at=WHEN, url="https://t.me/c/1", views=10),
        prediction(ANSWER, 2, ("us_nato_conflation", "call_for_retaliation"), "endorses", url="javascript:alert(1)"),
        prediction("Министерство: базы НАТО нет.", 3, ("us_nato_conflation",), "refutes", channel="Канал", published_at=WHEN),
        prediction("Своё.", 4, ("own_label",), "reports"),
        prediction("Погода хорошая.", 5, (), None),
        Prediction(Post(text="Курс доллара.", id="6"), (), {}, None, {}, screened=True, model="m@1"),
    ]
    writer.write(to_batch(rows, LABELS))
    writer.close()
    return path


def items(path: Path) -> list[dict[str, object]]:
    return list(json.loads(path.read_text("utf-8")))


# ---- Label Studio -------------------------------------------------------------------------------------------------------


def label_studio(scored: Path, folder: Path) -> tuple[list[dict[str, object]], str]:
    n_rows, files = convert(scored, folder / "tasks.json", to="label-studio")
    assert n_rows == 6
    assert [file.name for file in files] == ["tasks.json", "tasks.config.xml"]
    return items(files[0]), files[1].read_text("utf-8")


def test_label_studio_tasks_fit_their_interface(scored: Path, tmp_path: Path) -> None:
    tasks, config = label_studio(scored, tmp_path)
    view = ET.fromstring(config)
    known = {tag.get("name"): {child.get("value") for child in tag} for tag in view if tag.get("toName")}
    assert known["labels"] == known["evidence"] == set(LABELS)
    assert view.find("Text").get("value") == "$text"  # type: ignore[union-attr]
    for task in tasks:
        for made in task["predictions"]:  # type: ignore[attr-defined]
            for region in made["result"]:
                values = region["value"].get("choices") or region["value"]["labels"]
                assert set(values) <= known[region["from_name"]]
                assert region["to_name"] == "text"
    assert tasks[4]["predictions"] == [{"model_version": "m@1", "result": []}]
    assert tasks[5]["predictions"] == []


def test_label_studio_counts_utf16_units(scored: Path, tmp_path: Path) -> None:
    tasks, _ = label_studio(scored, tmp_path)
    [region] = [r for r in tasks[0]["predictions"][0]["result"] if r["type"] == "labels"]  # type: ignore[index]
    units = tasks[0]["data"]["text"].encode("utf-16-le")  # type: ignore[index]
    assert units[2 * region["value"]["start"] : 2 * region["value"]["end"]].decode("utf-16-le") == region["value"]["text"] == CLAIM
    assert region["value"]["end"] == len(CLAIM) + 1


def test_label_studios_own_library_takes_them(scored: Path, tmp_path: Path) -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk pins an older numpy; `make test` installs it without its dependencies"
    )
    tasks, config = label_studio(scored, tmp_path)
    found = interface.LabelInterface(config)
    assert found.validate() is None
    for task in tasks:
        assert found.validate_task({"data": task["data"]})  # with predictions its own call lacks an argument (2.1.2)
        for made in task["predictions"]:  # type: ignore[attr-defined]
            assert found.validate_prediction(made, return_errors=True) == []


# ---- Argilla ------------------------------------------------------------------------------------------------------------


def test_argilla_reads_settings_and_records(scored: Path, tmp_path: Path) -> None:
    import argilla
    from argilla._models import FieldModel, QuestionModel  # Settings.from_json parses with these, but asks for a server first

    convert(scored, tmp_path / "records.json", to="argilla")
    settings = json.loads((tmp_path / "records.settings.json").read_text("utf-8"))
    labels, stance = [QuestionModel.model_validate(question) for question in settings["questions"]]
    assert (labels.name, labels.settings.type) == ("labels", "multi_label_selection")
    assert [option["value"] for option in labels.settings.options] == list(LABELS)
    assert (stance.name, stance.settings.type) == ("stance", "label_selection")
    [field] = [FieldModel.model_validate(field) for field in settings["fields"]]
    assert (field.name, field.settings.type) == ("text", "text")
    records = [argilla.Record.from_dict(item) for item in items(tmp_path / "records.json")]
    assert [record.fields["text"] for record in records][:1] == [CLAIM]
    suggestion = records[1].suggestions["labels"]
    assert suggestion.value == ["us_nato_conflation", "call_for_retaliation"]
    assert suggestion.score == pytest.approx([0.9, 0.8])
    assert suggestion.agent == "m@1"
    assert records[0].suggestions["stance"].value == "endorses"
    assert list(records[4].suggestions) == []
    assert records[0].metadata["channel"] == "Канал"
    assert records[0].metadata["published_at"].startswith("2023-10-06T09:30:00")


# ---- doccano ------------------------------------------------------------------------------------------------------------


def test_doccano_lines_have_what_its_importer_asks_for(scored: Path, tmp_path: Path) -> None:
    """Its JSONL parser takes `text`, a list in `label`, and any other field as metadata (backend/data_import, doccano 1.8)."""
    n_rows, [file] = convert(scored, tmp_path / "doccano.jsonl", to="doccano", flagged_only=True)
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert n_rows == len(rows) == 4
    assert rows[1]["label"] == ["us_nato_conflation", "call_for_retaliation", "stance:endorses"]
    assert all(isinstance(row["text"], str) and all(isinstance(label, str) for label in row["label"]) for row in rows)
    assert rows[0]["post_id"] == "1"


# ---- and back from the program -----------------------------------------------------------------------------------------


def accepted(file: Path, to: str) -> Path:
    """What each program exports once a person accepted everything that was suggested."""
    if to == "label-studio":
        done = [{**task, "annotations": [{"result": p["result"]} for p in task["predictions"]]} for task in items(file)]  # type: ignore[attr-defined]
    elif to == "argilla":
        done = [
            {**record, "responses": {q: [{"value": s["value"], "user_id": "u"}] for q, s in record["suggestions"].items()}}  # type: ignore[attr-defined]
            for record in items(file)
        ]
    else:
        return file  # what doccano imports is an annotation already
    back = file.with_name("back.json")
    back.write_text(json.dumps(done), encoding="utf-8")
    return back


@pytest.mark.parametrize("format", ["auto", "named"])
@pytest.mark.parametrize("to", ["doccano", "label-studio", "argilla"])
def test_what_was_converted_comes_back_as_annotated_posts(scored: Path, tmp_path: Path, to: str, format: str) -> None:
    own = parse("".join(f'[[label]]\nid = "{label}"\nname = "{label}"\n' for label in LABELS))
    _, [file, *_] = convert(scored, tmp_path / "out.json", to=to, flagged_only=True)
    found = read_annotated(accepted(file, to), own, format="auto" if format == "auto" else to)
    assert found.format == to
    assert [(p.id, p.text, p.labels, p.stance) for p in found.posts] == [
        ("1", CLAIM, ("us_nato_conflation",), "endorses"),
        ("2", ANSWER, ("us_nato_conflation", "call_for_retaliation"), "endorses"),
        ("3", "Министерство: базы НАТО нет.", ("us_nato_conflation",), "refutes"),
        ("4", "Своё.", ("own_label",), "reports"),
    ]
    assert {p.language for p in found.posts} == {"ru"}


def test_suggestions_that_nobody_read_are_no_annotations(scored: Path, tmp_path: Path) -> None:
    own = parse("".join(f'[[label]]\nid = "{label}"\nname = "{label}"\n' for label in LABELS))
    for to in ("label_studio", "argilla"):
        _, [file, *_] = convert(scored, tmp_path / f"{to}.json", to=to)
        with pytest.raises(InputError, match="holds no annotated post.*6 rows were not annotated"):
            read_annotated(file, own, format=to)


def test_two_stances_of_a_post_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Да.", "label": ["own_label", "stance:reports", "stance:refutes"], "post_id": "1"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match="holds 2 stances: reports, refutes; expected one at most"):
        read_annotated(path, parse('[[label]]\nid = "own_label"\nname = "own"\n'))


# ---- STIX ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stix_objects(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    import stix2

    folder = tmp_path_factory.mktemp("stix")
    convert(scored, folder / "bundle.json", to="stix")
    bundle = stix2.parse((folder / "bundle.json").read_text("utf-8"), allow_custom=False, version="2.1")
    return list(bundle.objects)


def kinds(objects: list[object], kind: str) -> list[object]:
    return [item for item in objects if item.type == kind]  # type: ignore[attr-defined]


def test_the_stix2_library_takes_every_object_and_every_reference_leads_somewhere(stix_objects: list[object]) -> None:
    ids = [item.id for item in stix_objects]  # type: ignore[attr-defined]
    assert len(ids) == len(set(ids))
    for item in stix_objects:
        for name, value in item.items():  # type: ignore[attr-defined]
            if name.endswith(("_ref", "_refs")):
                assert set([value] if isinstance(value, str) else value) <= set(ids), (item, name)


def test_only_endorsements_are_sightings(stix_objects: list[object]) -> None:
    sightings, notes = kinds(stix_objects, "sighting"), kinds(stix_objects, "note")
    assert sorted((s.confidence, s.description) for s in sightings) == [(80, ANSWER), (90, ANSWER), (90, CLAIM)]  # type: ignore[attr-defined]
    assert sorted(n.abstract for n in notes) == [  # type: ignore[attr-defined]
        "A post refutes the narrative us_nato_conflation", "A post reports the narrative own_label",
    ]  # fmt: skip
    assert all("unreviewed" in item.labels for item in [*sightings, *notes])  # type: ignore[attr-defined]


def test_a_post_without_a_stance_is_a_note_that_names_none(tmp_path: Path) -> None:
    import stix2

    post = Post(CLAIM, id="1", channel="Канал", published_at=WHEN)
    prediction = Prediction(post, (LABELS[0],), dict.fromkeys(LABELS, 0.9), None, {})
    path = tmp_path / "scored.parquet"
    writer = plugins.load("output format", plugins.WRITERS, "parquet")(path, LABELS)
    writer.write(to_batch([prediction], LABELS))
    writer.close()
    convert(path, tmp_path / "bundle.json", to="stix")
    found = stix2.parse((tmp_path / "bundle.json").read_text("utf-8"), allow_custom=False, version="2.1").objects
    [note] = kinds(found, "note")
    assert (note.abstract, note.labels) == (f"A post carries the narrative {LABELS[0]}", ["unreviewed"])  # type: ignore[attr-defined]
    assert kinds(found, "sighting") == []


def test_narratives_use_disarms_techniques(stix_objects: list[object]) -> None:
    patterns = {p.id: p.external_references[0] for p in kinds(stix_objects, "attack-pattern")}  # type: ignore[attr-defined]
    campaigns = {c.id: c.aliases[0] for c in kinds(stix_objects, "campaign")}  # type: ignore[attr-defined]
    used = {(campaigns[r.source_ref], patterns[r.target_ref].external_id) for r in kinds(stix_objects, "relationship")}  # type: ignore[attr-defined]
    assert used == {("us_nato_conflation", "T0023.001"), ("call_for_retaliation", "T0138.002")}
    assert {p.source_name for p in patterns.values()} == {"DISARM"}
    assert set(campaigns.values()) == set(LABELS)


def test_posts_are_observables_with_their_time_and_only_safe_links(stix_objects: list[object]) -> None:
    texts = {base64.b64decode(a.payload_bin).decode() for a in kinds(stix_objects, "artifact")}  # type: ignore[attr-defined]
    assert {CLAIM, ANSWER} < texts and "Погода хорошая." not in texts
    assert [u.value for u in kinds(stix_objects, "url")] == ["https://t.me/c/1"]  # type: ignore[attr-defined]
    assert {o.first_observed for o in kinds(stix_objects, "observed-data")} == {WHEN}  # type: ignore[attr-defined]
    assert len(kinds(stix_objects, "observed-data")) == 2  # the other posts' times are not known


def test_the_same_posts_get_the_same_ids(scored: Path, tmp_path: Path, stix_objects: list[object]) -> None:
    convert(scored, tmp_path / "again.json", to="stix")
    again = json.loads((tmp_path / "again.json").read_text("utf-8"))["objects"]
    assert [item["id"] for item in again] == [item.id for item in stix_objects]  # type: ignore[attr-defined]


def test_every_shipped_label_has_a_technique_and_the_documents_say_so() -> None:
    assert set(TECHNIQUES) == set(load("kazakhstan").ids)
    page = (ROOT / "docs" / "score.md").read_text("utf-8")
    for label, techniques in TECHNIQUES.items():
        [line] = [line for line in page.splitlines() if line.startswith(f"| `{label}` |")]
        for technique, name in techniques:
            assert f"{technique} {name}" in line


# ---- the command --------------------------------------------------------------------------------------------------------


def test_a_table_is_converted_by_its_ending(scored: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from narratives.cli import main; main()",
        "convert",
        scored,
        "-o",
        tmp_path / "out.xlsx",
        "--flagged-only",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert done.stdout.splitlines() == ["4 rows", f"written   {tmp_path / 'out.xlsx'}"]
    assert openpyxl.load_workbook(tmp_path / "out.xlsx").active.max_row == 5


def test_nothing_is_overwritten_or_left_behind_unasked(scored: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.config.xml").write_text("mine")
    with pytest.raises(ConfigError, match=r"tasks.config.xml: exists; choose another name or pass --overwrite"):
        convert(scored, tmp_path / "tasks.json", to="label-studio")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tasks.config.xml"]
    convert(scored, tmp_path / "tasks.json", to="label-studio", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tasks.config.xml", "tasks.json"]
    with pytest.raises(ConfigError, match="exists"):
        convert(scored, scored, overwrite=True)


def test_what_cannot_be_converted_is_said(scored: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"its ending '.json' tells no format; give one with --to: parquet, jsonl, csv, xlsx, label-studio"
    ):
        convert(scored, tmp_path / "out.json")
    with pytest.raises(UnknownName, match="unknown format 'sticks'"):
        convert(scored, tmp_path / "out.json", to="sticks")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="is no readable Parquet file"):
        convert(tmp_path / "text.parquet", tmp_path / "out.xlsx")
    pq.write_table(pq.read_table(scored).select(["id", "text"]), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="has no column channel, published_at"):
        convert(tmp_path / "other.parquet", tmp_path / "out.xlsx")


@pytest.mark.parametrize("name", sorted(plugins.EXPORTS))
def test_an_empty_output_is_a_valid_file(name: str, tmp_path: Path) -> None:
    ParquetWriter(tmp_path / "empty.parquet", LABELS).close()
    n_rows, [file, *_] = convert(tmp_path / "empty.parquet", tmp_path / "out.json", to=name)
    assert n_rows == 0
    assert name == "doccano" or json.loads(file.read_text("utf-8")) is not None
