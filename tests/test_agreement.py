"""Two readers: alpha against values worked out by hand, and a broken file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from narratives.agreement import alpha_of_units, krippendorff_alpha, read_agreement
from narratives.errors import RecordError
from narratives.taxonomy import Taxonomy


def test_alpha_of_a_worked_example() -> None:
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section B: binary data, two observers, alpha = 0.095.
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha(first, second) == pytest.approx(0.095, abs=5e-4)


def test_alpha_is_one_for_equal_readings_and_none_for_a_single_value() -> None:
    assert krippendorff_alpha(["a", "b", "a"], ["a", "b", "a"]) == 1.0
    assert krippendorff_alpha(["a", "a"], ["a", "a"]) is None


def test_alpha_of_four_readers_with_gaps() -> None:
    # The same text, section C: nominal data, four observers, missing values, alpha = 0.743.
    readers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    units = [[value for value in column if value != "."] for column in zip(*readers, strict=True)]
    assert alpha_of_units(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_posts_that_nobody_read_twice_is_none() -> None:
    assert alpha_of_units([["a"], ["b"], []]) is None


def reading(labels: list[str], stance: str | None) -> dict[str, object]:
    return {"labels": labels, "stance": stance}


def test_a_file_of_readings_is_measured(tmp_path: Path, weather: Taxonomy) -> None:
    rows = [
        {"id": "1", "first": reading(["rain"], "endorses"), "second": reading(["rain"], "reports")},
        {"id": "2", "first": reading([], None), "second": reading([], None)},
        {"id": "3", "first": reading(["rain"], "refutes"), "second": reading(["rain"], "refutes")},
    ]
    (tmp_path / "second.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_agreement(tmp_path / "second.jsonl", weather)
    assert (found.n_posts, found.n_same) == (3, 2)
    assert found.labels == {"rain": 1.0, "snow": None}
    assert found.stance is not None
    assert found.stance < 1


def test_a_broken_reading_is_named_with_its_line(tmp_path: Path, weather: Taxonomy) -> None:
    (tmp_path / "second.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match="second.jsonl:1"):
        read_agreement(tmp_path / "second.jsonl", weather)
