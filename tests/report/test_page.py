"""The page as a browser and a reader meet it: hostile posts, people's names, unknown numbers, empty dumps."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from narratives.bundle import ModelBundle
from narratives.errors import BundleError, ConfigError, InputError
from narratives.records import Prediction
from narratives.report import page
from narratives.report.assets import save_assets
from narratives.report.build import Report, build
from narratives.report.page import between, number, render, share, wait
from narratives.report.rows import read_rows
from tests.report.conftest import Write, at, said

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
LONG = " ".join(f"слово{j}" for j in range(14))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown += data


def hostile_posts() -> list[Prediction]:
    posts = [
        said(
            f"{HOSTILE} {LONG}", HOSTILE, at(i), "rain", url="javascript:alert(3)", source="=evil()" if i % 2 else HOSTILE, source_at=at(-1)
        )
        for i in range(4)
    ]
    posts += [said(f"{LONG} t.me/{'a' * 20}/5", f"канал{i}", at(i, seconds=9), "rain", "snow", source=HOSTILE) for i in range(5)]
    return [*posts, said("нет " + LONG, "]]>&'\"", at(6), "rain", stance="refutes", source="\u202eevil")]


@pytest.fixture
def report(write: Write) -> Callable[..., Report]:
    return lambda posts, **options: build(write(posts), **options)


def test_nothing_in_a_post_becomes_markup_and_nothing_is_loaded(report: Callable[..., Report]) -> None:
    made = report(hostile_posts(), periods="2023-10-09,2023-10-10")
    assert len(made.charts) >= 4
    tags = Tags(render(made))
    names = {tag for tag, _ in tags.found}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "form", "base", "image", "foreignobject", "use"})
    assert {"svg", "table", "mark", "details"} <= names
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "srcset", "xlink:href", "action"}], (
            tag,
            attributes,
        )
        assert (attributes.get("href") or "#").startswith(("#", "https://", "http://"))
    assert "alert(1)" in tags.shown  # shown as text
    policy = next(a["content"] for tag, a in tags.found if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_ids_of_pictures_do_not_meet(report: Callable[..., Report]) -> None:
    ids = [attributes["id"] for _, attributes in Tags(render(report(hostile_posts()))).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_people_are_not_named_anywhere(report: Callable[..., Report], tmp_path: Path) -> None:
    made = report([said(LONG, "(private)", at(i), "rain", id=str(i), source="(private)", source_at=at(-1)) for i in range(3)])
    shown = Tags(render(made)).shown
    assert "not named" in shown
    assert "(private)" not in shown
    save_assets(made, tmp_path / "figures")
    for path in (tmp_path / "figures").iterdir():
        assert b"(private)" not in path.read_bytes(), path.name


def test_unknown_views_are_said_to_be_unknown(report: Callable[..., Report]) -> None:
    shown = Tags(render(report([said(LONG, f"c{i}", at(i), "rain", views=None) for i in range(3)]))).shown
    assert "views of those that spread it: unknown" in shown
    assert "0 views" not in shown


@pytest.mark.parametrize(
    "posts",
    [
        [said(LONG, "a", at(0))],
        [said(LONG, "a", at(0), "rain")],
        [said(LONG, None, None, "rain"), said("", None, None, "snow")],
        [said(LONG, "a", at(i), "rain", stance="refutes") for i in range(4)],
    ],
    ids=["none flagged", "one post", "no channel and no time", "denials only"],
)
def test_small_dumps_have_a_page_too(report: Callable[..., Report], posts: list[Prediction], tmp_path: Path) -> None:
    made = report(posts, periods="2023-10-09,2023-10-10")
    assert "Method" in Tags(render(made)).shown
    assert (tmp_path / "figures" / "network.gexf") in save_assets(made, tmp_path / "figures")


def test_headings_follow_the_language(report: Callable[..., Report]) -> None:
    posts = [said(LONG, f"c{i}", at(i), "rain") for i in range(3)]
    assert "Кто кого усиливает" in Tags(render(report(posts, language="ru"))).shown
    assert "Кім кімді таратады" in Tags(render(report(posts, language="kk"))).shown


def test_a_label_in_a_model_of_ones_own_gets_its_name_and_corrected_counts(
    report: Callable[..., Report], write: Write, linear_bundle: ModelBundle
) -> None:
    from dataclasses import replace

    posts = [replace(said(LONG + str(i), f"c{i}", at(i), *(("rain",) if i < 4 else ())), model=linear_bundle.model_id) for i in range(40)]
    path = write(posts)
    manifest_beside(path)
    made = build(path, model=str(linear_bundle.path), language="ru")
    assert made.sections[0].name == "дождь"
    assert made.model_note == ""
    cell = made.sections[0].narrative.all_languages
    assert cell.corrected is not None
    assert 0 <= cell.corrected.low <= cell.corrected.value <= cell.corrected.high <= 1
    with pytest.raises(BundleError, match=r"but the file was scored by weather@1; pass that model's folder"):
        build(write([said(LONG, "a", at(0), "rain")], "other.parquet"), model=str(linear_bundle.path))


def test_a_model_that_no_test_part_measured_is_told(write: Write, linear_bundle: ModelBundle, tmp_path: Path) -> None:
    from dataclasses import replace

    figures = linear_bundle.metrics["test"]

    def made(**new_labels: object) -> Report:
        metrics = {"new_labels": {"figures": figures, "kept_labels": [], **new_labels}} if new_labels else {}
        bundle = replace(linear_bundle, metrics=metrics).save_pretrained(tmp_path / "own")
        posts = [replace(said(LONG + str(i), f"c{i}", at(i), *(("rain",) if i < 4 else ())), model=bundle.model_id) for i in range(40)]
        path = write(posts)
        manifest_beside(path)
        return build(path, model=str(bundle.path))

    by_folds = made(measured_on="cross-validation")
    assert by_folds.model_note == (
        "The model was not measured on a test part, only by cross-validation on the posts it was trained on: "
        "counts are not corrected for its errors."
    )
    assert by_folds.model_note in Tags(render(by_folds)).shown
    assert by_folds.flagged_corrected is None
    assert made().model_note == "The model was not measured on a test part: counts are not corrected for its errors."
    assert "not for those that it kept" in made(measured_on="test", kept_labels=["rain"]).model_note
    on_test = made(measured_on="test")
    assert on_test.model_note == ""
    assert on_test.flagged_corrected is not None
    assert on_test.sections[0].narrative.all_languages.corrected is not None


def manifest_beside(path: Path, labels: list[str] | None = None) -> None:
    job = {"operating_point": "balanced", "labels": labels, "input": {"name": "in.jsonl", "sha256": "0" * 64}}
    thresholds = {"rain": 0.5, "snow": 0.5}
    manifest = {"counts": {"n_rejected": 0, "n_notes": 0}, "job": job, "thresholds": thresholds}
    path.with_name(f"{path.stem}.manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_counts_are_corrected_only_by_rates_that_hold_for_them(write: Write, linear_bundle: ModelBundle, tmp_path: Path) -> None:
    import hashlib
    import shutil
    from dataclasses import replace

    posts = [replace(said(LONG + str(i), f"c{i}", at(i), *(("rain",) if i < 4 else ())), model=linear_bundle.model_id) for i in range(40)]
    folder, path = tmp_path / "bundle", write(posts)
    shutil.copytree(linear_bundle.path, folder)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    figures = {"n_positive": 40, "recall": 0.9, "precision": 0.9, "threshold": 0.5}
    metrics["test"]["all"]["n_posts"] = 200
    metrics["test"] |= {"by_label": {"rain": figures, "snow": figures}, "false_alarms": {"n_posts_without_label": 60, "n_flagged": 3}}

    def measured(metrics: dict[str, object]) -> None:
        before = hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
        (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
        after = hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
        (folder / "bundle.json").write_text((folder / "bundle.json").read_text("utf-8").replace(before, after), "utf-8")

    measured(metrics)

    def corrected() -> tuple[bool, bool, str]:
        made = build(path, model=str(folder))
        assert "Method" in render(made)
        return made.flagged_corrected is not None, made.sections[0].narrative.all_languages.corrected is not None, made.model_note

    assert corrected() == (False, False, "No manifest says at which thresholds the file was scored: counts are not corrected for the "
                           "model's errors.")  # fmt: skip
    manifest_beside(path)
    assert corrected() == (True, True, "")
    manifest_beside(path, ["rain"])
    assert corrected() == (False, True, "Only some of the model's labels were scored: the number of posts with any label is not corrected, "
                           "that of each label is.")  # fmt: skip
    manifest_beside(path, ["snow", "rain"])
    assert corrected() == (True, True, "")
    measured({name: value for name, value in metrics.items() if name != "test"})
    assert corrected() == (False, False, "The model was not measured on a test part: counts are not corrected for its errors.")


def without_stance(prediction: Prediction) -> Prediction:
    from dataclasses import replace

    return replace(prediction, stance=None, stance_probabilities={})


def test_a_model_without_stances_has_a_page_with_all_its_posts(report: Callable[..., Report]) -> None:
    made = report([without_stance(said(f"{LONG} {i}", f"c{i % 3}", at(i), "rain")) for i in range(6)])
    narrative = made.sections[0].narrative
    assert sum(b.n_posts for b in narrative.bins) == sum(b.n_without_stance for b in narrative.bins) == 6
    assert narrative.peak is not None and narrative.peak.n_posts == 1
    names = {chart.name for chart in made.charts}
    assert {"posts-rain", "spread-rain"} <= names
    for name in ("posts-rain", "spread-rain"):
        assert "no stance" in next(chart for chart in made.charts if chart.name == name).svg()
    others = report([said(f"{LONG} {i}", f"c{i % 3}", at(i), "rain") for i in range(6)])
    assert not any("no stance" in chart.svg() for chart in others.charts)


def test_a_dump_within_an_hour_has_bars_of_some_width(report: Callable[..., Report]) -> None:
    made = report([said(f"{LONG} {i}", f"c{i}", at(i / 10), "rain") for i in range(4)])
    specification = next(chart.specification for chart in made.charts if chart.name == "posts-rain")
    [bar] = specification["data"]["values"]
    assert (bar["start"], bar["stop"]) == ("2023-10-09T08:00:00Z", "2023-10-09T09:00:00Z")


def test_unknown_numbers_and_ids_are_empty_cells(report: Callable[..., Report], tmp_path: Path) -> None:
    from dataclasses import replace

    posts = [said(LONG, f"c{i}", at(i), "rain", views=None if i < 2 else 70) for i in range(3)]
    posts = [replace(p, post=replace(p.post, id=None)) for p in posts]
    save_assets(report(posts), tmp_path / "figures")

    def table(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((tmp_path / "figures" / f"{name}.csv").read_text("utf-8-sig").splitlines()))

    assert [(r["views"], r["cumulative_views"]) for r in table("over_time")] == [("", ""), ("", ""), ("70", "70")]
    assert table("repeated_texts")[0]["most_seen_id"] == ""


def test_what_was_not_readable_comes_from_the_manifest(write: Write) -> None:
    path = write([said(LONG, "a", at(0), "rain")])
    assert "No manifest was found" in Tags(render(build(path))).shown
    manifest = {"counts": {"n_rejected": 17, "n_notes": 4}, "output": {"rejected": "out.rejected.jsonl"}}
    path.with_name("out.manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert "17 records could not be read" in Tags(render(build(path))).shown
    path.with_name("out.manifest.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"out\.manifest\.json: is no readable manifest"):
        build(path)


def test_assets_are_whole_and_safe(report: Callable[..., Report], tmp_path: Path) -> None:
    made = report(hostile_posts())
    written = save_assets(made, tmp_path / "figures")
    assert {p.suffix for p in written} == {".svg", ".png", ".csv", ".gexf"}
    for path in written:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")
        elif path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.reader(stream))
            assert all(len(row) == len(rows[0]) for row in rows)
            assert not [cell for row in rows for cell in row if cell.startswith("=")]
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        save_assets(made, written[0])


def test_long_posts_are_shortened_around_their_evidence(write: Write) -> None:
    from dataclasses import replace

    from narratives.records import Evidence

    text = "а" * 1000 + " ВОТ ОНО " + "б" * 1000
    post = said(text, "a", at(0), "rain")
    [row] = read_rows(write([replace(post, evidence=(Evidence("rain", 1001, 1008, 1.0), Evidence("snow", 0, 5, 1.0)))]))
    pieces = page.pieces(row, "rain")
    assert [text for text, evident in pieces if evident] == ["ВОТ ОНО"]
    assert sum(len(text) for text, _ in pieces) < 400
    assert page.pieces(replace_row(row, "коротко"), "rain") == [("коротко", False)]


def replace_row(row: page.Row, text: str) -> page.Row:
    from dataclasses import replace

    return replace(row, text=text)


def test_numbers_are_written_for_readers() -> None:
    from datetime import timedelta

    assert (number(None), number(0), number(1234567)) == ("unknown", "0", "1\u202f234\u202f567")
    assert [share(v) for v in (0, 0.0004, 0.012, 0.5, -0.02, float("nan"))] == ["0.0%", "0.04%", "1.2%", "50%", "\u22122.0%", "–"]
    assert [wait(timedelta(seconds=s)) for s in (42, 1000, 19_200, 7200, 273_600, 172_800)] == [
        "42 s",
        "17 min",
        "5 h 20 min",
        "2 h",
        "3 d 4 h",
        "2 d",
    ]
    assert between(None) == "unknown"
