"""Annotated posts come in from every program the same way, or say where and why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from narratives import plugins, taxonomy
from narratives.errors import InputError, RecordError, UnknownName
from narratives.taxonomy import Taxonomy
from narratives.training.loaders import Columns, read_annotated
from narratives.training.loaders.record import labels_of
from tests.conftest import ROOT

EXPECTED = [("Льёт дождь.", ("rain",)), ("Снег и дождь.", ("rain", "snow")), ("Тихо.", ())]


def write_json(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def jsonl(folder: Path) -> Path:
    return write_json(folder / "a.jsonl", [{"text": t, "labels": list(labels)} for t, labels in EXPECTED])


def jsonl_array_with_names(folder: Path) -> Path:
    names = {"rain": "Дождь", "snow": "SNOW"}
    path = folder / "a.json"
    path.write_text(json.dumps([{"body": t, "label": "|".join(names[i] for i in labels)} for t, labels in EXPECTED]), encoding="utf-8")
    return path


def csv_with_one_column(folder: Path) -> Path:
    path = folder / "a.csv"
    path.write_text('id,text,labels\n1,Льёт дождь.,rain\n2,Снег и дождь.,"rain,snow"\n3,Тихо.,\n', encoding="utf-8")
    return path


def csv_with_a_column_a_label(folder: Path) -> Path:
    path = folder / "a.tsv"
    path.write_text("text\train\tsnow\nЛьёт дождь.\t1\t0\nСнег и дождь.\t1\t1\nТихо.\t0\t0\n", encoding="utf-8")
    return path


def csv_of_windows(folder: Path) -> Path:
    path = folder / "a.csv"
    path.write_bytes("text;labels\nЛьёт дождь.;rain\nСнег и дождь.;rain|snow\nТихо.;\n".encode("cp1251"))
    return path


def parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table({"text": [t for t, _ in EXPECTED], "labels": [list(labels) for _, labels in EXPECTED]}), path)
    return path


def saved_dataset(folder: Path) -> Path:
    from datasets import ClassLabel, Dataset, Features, List, Value

    names = ["rain", "snow"]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    rows = {"text": [t for t, _ in EXPECTED], "labels": [[names.index(i) for i in labels] for _, labels in EXPECTED]}
    Dataset.from_dict(rows, features=features).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def doccano(folder: Path) -> Path:
    rows = [{"id": i, "text": t, "label": list(labels), "Comments": []} for i, (t, labels) in enumerate(EXPECTED)]
    return write_json(folder / "doccano.jsonl", rows)  # type: ignore[arg-type]  # a literal's values are objects


def doccano_spans(folder: Path) -> Path:
    rows = [{"id": i, "text": t, "label": [[0, 4, name] for name in labels]} for i, (t, labels) in enumerate(EXPECTED)]
    return write_json(folder / "spans.jsonl", rows)  # type: ignore[arg-type]


def label_studio(folder: Path) -> Path:
    def task(number: int, text: str, labels: tuple[str, ...]) -> dict[str, object]:
        result = [{"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}] if labels else []
        cancelled = {"was_cancelled": True, "result": [{"from_name": "labels", "value": {"choices": ["snow"]}}]}
        return {
            "id": number,
            "data": {"text": text},
            "annotations": [cancelled, {"was_cancelled": False, "result": result}],
            "predictions": [],
        }

    path = folder / "project.json"
    unread = {"id": 99, "data": {"text": "Никто не читал."}, "annotations": []}
    path.write_text(json.dumps([*(task(i, t, labels) for i, (t, labels) in enumerate(EXPECTED)), unread]), encoding="utf-8")
    return path


def label_studio_min(folder: Path) -> Path:
    base = {"annotator": 1, "lead_time": 1.5}
    rows = [
        {**base, "id": 1, "annotation_id": 1, "text": "Льёт дождь.", "labels": "rain"},
        {**base, "id": 2, "annotation_id": 2, "text": "Снег и дождь.", "labels": {"choices": ["snow", "rain"]}},
        {**base, "id": 3, "annotation_id": 3, "text": "Тихо."},
    ]
    path = folder / "min.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def argilla_2(folder: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"id": str(i), "fields": {"text": t}, "metadata": {}, "suggestions": {"labels": {"value": ["snow"]}},
         "responses": {"labels": [{"value": list(labels), "user_id": "u"}]}}
        for i, (t, labels) in enumerate(EXPECTED)
    ]  # fmt: skip
    rows.append({"id": "9", "fields": {"text": "Никто не читал."}, "suggestions": {"labels": {"value": ["snow"]}}, "responses": {}})
    return write_json(folder / "argilla.jsonl", rows)


def argilla_1(folder: Path) -> Path:
    rows = [
        {"id": str(i), "fields": {"text": t}, "responses": [
            {"status": "submitted", "values": {"labels": {"value": list(labels)}}},
            {"status": "discarded", "values": {"labels": {"value": ["snow"]}}},
        ]}
        for i, (t, labels) in enumerate(EXPECTED)
    ]  # fmt: skip
    return write_json(folder / "argilla.jsonl", rows)  # type: ignore[arg-type]


MAKERS: list[tuple[Callable[[Path], Path], str]] = [
    (jsonl, "jsonl"),
    (jsonl_array_with_names, "jsonl"),
    (csv_with_one_column, "csv"),
    (csv_with_a_column_a_label, "csv"),
    (csv_of_windows, "csv"),
    (parquet, "parquet"),
    (saved_dataset, "datasets"),
    (doccano, "doccano"),
    (doccano_spans, "doccano"),
    (label_studio, "label-studio"),
    (label_studio_min, "label-studio"),
    (argilla_2, "argilla"),
    (argilla_1, "argilla"),
]


@pytest.mark.parametrize(("make", "format"), MAKERS, ids=lambda value: getattr(value, "__name__", value))
def test_each_format_is_recognised_and_gives_the_same_posts(
    tmp_path: Path, weather: Taxonomy, make: Callable[[Path], Path], format: str
) -> None:
    found = read_annotated(make(tmp_path), weather)
    assert found.format == format
    assert [(p.text, p.labels) for p in found.posts] == EXPECTED


def test_posts_that_nobody_annotated_are_counted_and_left_out(tmp_path: Path, weather: Taxonomy) -> None:
    assert read_annotated(label_studio(tmp_path), weather).n_without_annotation == 1
    assert read_annotated(argilla_2(tmp_path), weather).n_without_annotation == 1


def test_of_two_annotators_a_label_stands_that_half_of_them_gave_and_of_three_one_alone_does_not(tmp_path: Path, weather: Taxonomy) -> None:
    given = [["rain"], ["rain", "snow"], ["rain"]]
    annotations = [{"result": [{"from_name": "labels", "value": {"choices": one}}]} for one in given]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": 1, "data": {"text": "Мокро."}, "annotations": annotations}]), encoding="utf-8")
    assert read_annotated(path, weather).posts[0].labels == ("rain",)


def test_parts_stance_group_and_language_come_along(tmp_path: Path, weather: Taxonomy) -> None:
    row = {"text": "Дождя нет.", "labels": ["rain"], "stance": "refutes", "group": "g", "lang": "ru", "split": "dev"}
    found = read_annotated(write_json(tmp_path / "a.jsonl", [row]), weather)
    post = found.posts[0]
    assert (post.stance, post.group, post.language, found.parts) == ("refutes", "g", "ru", ["validation"])


def test_a_dataset_with_parts_keeps_them(tmp_path: Path, weather: Taxonomy) -> None:
    from datasets import Dataset, DatasetDict

    one = Dataset.from_dict({"text": ["Льёт дождь."], "labels": [["rain"]]})
    DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "both"))
    assert read_annotated(tmp_path / "both", weather).parts == ["train", "test"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "a", "labels": ["rian"]},
            r'a.jsonl:1: field "labels" holds \'rian\'; known: rain, snow. Add it to the taxonomy or mend it.',
        ),
        ({"body_": "a", "labels": []}, r'a.jsonl:1: field "text" is missing; found "body_", "labels". Rename it or pass --text-column.'),
        ({"text": "a", "marks": []}, r'field "labels" is missing; found "text", "marks". Expected label ids'),
        ({"text": 3, "labels": []}, r'field "text" holds int, expected text; pass --text-column with its column'),
        (
            {"text": "a", "labels": ["rain"], "stance": "likes"},
            r"field \"stance\" holds 'likes', expected one of endorses, reports, refutes",
        ),
    ],
)
def test_a_wrong_row_stops_with_its_place_and_what_to_do(tmp_path: Path, weather: Taxonomy, row: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError, match=message.replace("(", r"\(")):
        read_annotated(write_json(tmp_path / "a.jsonl", [row]), weather)


def test_unusual_columns_are_named(tmp_path: Path, weather: Taxonomy) -> None:
    path = write_json(tmp_path / "a.jsonl", [{"body_": "Льёт.", "marks": "rain"}])
    assert read_annotated(path, weather, columns=Columns("body_", "marks")).posts[0].labels == ("rain",)
    with pytest.raises(RecordError, match='is in no column \'marx\'; found "body_", "marks". Pass --label-column with one of them'):
        read_annotated(path, weather, columns=Columns("body_", "marx"))


def test_two_labels_where_the_taxonomy_has_one_a_post_are_an_error(tmp_path: Path) -> None:
    one = taxonomy.parse('single_label = true\n[[label]]\nid = "rain"\n[[label]]\nid = "snow"')
    with pytest.raises(RecordError, match="holds 2 labels, and the taxonomy says single_label; expected one at most"):
        read_annotated(jsonl(tmp_path), one)


def test_absent_files_folders_and_formats_are_told(tmp_path: Path, weather: Taxonomy) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_annotated(tmp_path / "absent.jsonl", weather)
    with pytest.raises(InputError, match=r"holds no \*.jsonl file, and is no folder written by datasets"):
        read_annotated(tmp_path, weather)
    with pytest.raises(UnknownName, match="unknown format of annotated posts 'dokkano'; .* Did you mean 'doccano'?"):
        read_annotated(jsonl(tmp_path), weather, format="dokkano")


def test_labels_written_in_other_case_or_with_other_signs_are_the_same() -> None:
    science = taxonomy.parse('[[label]]\nid = "science_technology"\n')
    from narratives.training.loaders import plain, written_names

    assert written_names(science)[plain("Science/Technology")] == "science_technology"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("a; b", ["a", " b"]),
        ({"a": 1, "b": 0}, ["a"]),
        ({"choices": ["a"]}, ["a"]),
        ([[0, 3, "a"]], ["a"]),
        (None, None),
        (float("nan"), None),
        ("", []),
    ],
)
def test_the_many_ways_of_writing_labels(written: object, read: object) -> None:
    assert labels_of(written) == read


def test_every_loader_has_its_line_and_every_line_its_loader() -> None:
    files = {p.stem for p in (ROOT / "narratives" / "training" / "loaders").glob("*.py")} - {"__init__", "record"}
    assert {leaf.target.split(":")[0].rsplit(".", 1)[1] for leaf in plugins.LOADERS.values()} == files
    assert {format for _, format in MAKERS} == set(plugins.LOADERS)
