"""The page in a real browser: keys, undo, bulk, two tabs, a hostile post, a reload in the middle, a large file, contrast."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.review.conftest import LABELS, Served, prediction, serving, write

Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Open the page in a browser of its own; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def open_page(served: Served, *, context: Any = None, address: str = "", name: str = "", **options: Any) -> Any:
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
            context.on("page", lambda page: page.on("pageerror", lambda error: complaints.append(str(error))))
        page = context.new_page()
        page.set_default_timeout(40_000)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" and "409" not in message.text else None
        )
        page.on("request", lambda request: complaints.append(request.url) if f"127.0.0.1:{served.port}/" not in request.url else None)
        page.goto(served.link)
        if name:
            page.fill("#name", name)
            page.click("#begin")
            page.wait_for_selector("body.ready")
        if address:
            page.goto(f"http://127.0.0.1:{served.port}/{address}")
        page.wait_for_selector("body.ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def row(page: Any) -> int:
    return int(page.evaluate("Number(location.hash.slice(1))"))


def verdict(page: Any) -> str:
    found = page.query_selector("#card .where .verdict")
    return found.inner_text() if found else ""


def until(page: Any, condition: str) -> None:
    """Wait for a condition in the page. (Playwright's own waiting compiles strings, which the page's policy forbids.)"""
    end = time.monotonic() + 40
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(15)


def press(page: Any, *keys: str) -> None:
    """Press keys one after another, each when the last has done its work: one that comes before is meant for the post before."""
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(10)
        until(page, "(document.body.dataset.pending ?? '0') === '0'")


def decisions(served: Served) -> dict[int, tuple[str, tuple[str, ...], str | None]]:
    return {s.row: (s.choice.verdict, s.choice.labels, s.choice.stance) for s in served.index.store.standing(served.index.scored.digest)}


def test_a_post_is_decided_with_single_keys_and_written_at_once(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file")
    assert row(page) == 0
    press(page, "j")
    assert row(page) == 1
    press(page, "a")
    assert decisions(served)[1] == ("accept", (LABELS[1],), "endorses")
    assert row(page) == 2
    press(page, "x")
    assert decisions(served)[2] == ("reject", (), None)
    press(page, "0", "1", "f")
    assert decisions(served)[3] == ("correct", (LABELS[0], LABELS[3], LABELS[9]), "refutes")
    press(page, "ArrowRight", "s")
    assert decisions(served)[4][0] == "skip"
    press(page, "k", "k")
    assert row(page) == 3
    press(page, "n")
    page.keyboard.type("спросить министерство")
    press(page, "Control+Enter")
    assert page.inner_text(".note-shown").strip() == "спросить министерство"
    assert decisions(served)[3][0] == "correct", "a note leaves the decision"
    press(page, "d")
    assert page.locator(".definition").count() == 3
    press(page, "?")
    assert page.locator("dialog[open] .keys").is_visible()
    press(page, "a")
    assert row(page) == 3, "keys rest while a dialog is open"
    page.keyboard.press("Escape")


def test_keys_work_in_a_kazakh_layout(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file")
    fire = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))"
    page.evaluate(fire, ["о", "KeyJ"])
    until(page, "location.hash === '#1'")
    page.evaluate(fire, ["ң", "Digit4"])  # on a Kazakh keyboard the digits' row types letters
    page.wait_for_selector(".row.l3.on")
    page.evaluate(fire, ["ф", "KeyA"])
    until(page, "location.hash === '#2'")
    assert decisions(served)[1] == ("correct", (LABELS[1], LABELS[3]), "endorses")


def test_undo_has_no_end_and_survives_a_reload(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file")
    press(page, *"aaaaaaaa")
    press(page, "3", "5", "n")
    page.keyboard.type("note")
    press(page, "Control+Enter")
    assert len(decisions(served)) == 11, "eight texts, one with two copies, and the one that was corrected"
    page.reload()
    page.wait_for_selector("body.ready")
    press(page, *"uuuuu", "Control+z", *"uuuuu")
    assert decisions(served) == {}
    press(page, "u")
    assert row(page) == 0
    assert page.locator("#act-undo").is_disabled()


def test_a_reload_in_the_middle_comes_back_to_the_same_post_and_filter(served: Served, visit: Open) -> None:
    page = visit(served, address=f"?sort=newest&label={LABELS[4]}")
    press(page, "j", "2")
    at = row(page)
    page.reload()
    page.wait_for_selector("body.ready")
    assert row(page) == at
    assert page.input_value("[name=sort]") == "newest"
    assert page.input_value("[name=label]") == LABELS[4]
    assert page.locator(".row.l1.on").count() == 1
    assert verdict(page) == "corrected"


def test_everything_in_a_filter_is_decided_at_once_after_a_preview_and_undone_at_once(served: Served, visit: Open) -> None:
    page = visit(served)
    page.click(".count.l2")
    until(page, "document.querySelectorAll('.line').length === 2")
    press(page, "b")
    page.check("[value=reject]")
    page.wait_for_selector("#bulk-apply.reject")
    assert page.inner_text("#bulk-apply") == "Decide 2 posts"
    assert decisions(served) == {}, "a preview decides nothing"
    page.click("#bulk-apply")
    page.wait_for_selector(".empty")
    assert decisions(served) == {2: ("reject", (), None), 12: ("reject", (), None)}
    press(page, "u")
    assert decisions(served) == {}
    assert page.locator(".line").count() == 2


def test_two_tabs_never_overwrite_each_other_unseen(served: Served, visit: Open) -> None:
    one = visit(served, address="?sort=file#1")
    two = visit(served, context=one.context, address="?sort=file#1")
    press(one, "a")
    two.bring_to_front()
    press(two, "x")
    assert decisions(served)[1][0] == "accept", "the second tab had not seen it"
    assert "another tab" in two.inner_text("#toast")
    assert verdict(two) == "accepted"
    press(two, "x")
    assert decisions(served)[1][0] == "reject", "now it has"
    press(two, "u", "u")
    assert decisions(served) == {}


def test_a_post_full_of_html_and_direction_marks_is_only_text(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file#5")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#card img, #card script, #card b").count() == 0
    shown = page.locator("#text").evaluate(
        "node => { const n = node.cloneNode(true); n.querySelectorAll('.sr, sup').forEach(x => x.remove()); return n.textContent; }"
    )
    assert '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>' in shown
    assert "{{7*7}}" in shown
    assert page.locator("#text .hidden-char").count() == 3
    assert "\u202e" not in page.inner_text("body")
    assert page.locator("#card a").count() == 0, "javascript: is no link"
    assert page.inner_text("#card-title bdi") == "<b>жирный</b>"
    page.click(".line >> nth=6")
    until(page, "location.hash === '#6'")


def test_evidence_reposts_and_numbers_are_on_the_card(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file")
    assert page.locator("#text mark.l0").evaluate("n => n.firstChild.textContent") == "Под Алматы открыли базу НАТО."
    assert "3 copies in 3 channels" in page.inner_text(".cluster")
    assert "first: второй, 1 Oct 2023, 00:00 UTC" in page.inner_text(".cluster")
    assert "550 views together" in page.inner_text(".cluster")
    press(page, "c")
    assert page.locator("#copies li").count() == 3
    label = page.get_attribute(".toggle >> nth=0", "aria-label")
    assert label == "US–NATO conflation, model 0.31, threshold 0.30"
    press(page, "a")
    assert {0, 10, 11} <= decisions(served).keys()
    assert page.inner_text("#progress-text") == "Reviewed by you: 3 of 20"


def test_the_name_is_asked_and_two_reviewers_disagree_and_settle(output: Path, visit: Open) -> None:
    with serving(output, reviewer="") as served:
        first = visit(served, name="Айгерім", address="?sort=file#4")
        press(first, "a")
        last = visit(served, name="Болат", address="?sort=file#4")
        assert "shown after your own decision" in last.inner_text(".others")
        press(last, "x")
        press(last, "g")
        assert "Disagreements to settle: 1" in last.inner_text("dialog")
        last.click("#show-disagreements")
        last.wait_for_selector(".others.disagree")
        last.click(".other >> nth=1 >> .take")
        last.wait_for_selector(".others:not(.disagree)")
        found = {s.reviewer: s.choice for s in served.index.store.standing(served.index.scored.digest, 4)}
        assert found["Болат"].settles
        assert found["Болат"].labels == found["Айгерім"].labels == (LABELS[4],)


@pytest.mark.parametrize("language", ["en", "ru", "kk"])
def test_every_word_on_the_page_is_in_its_language(served: Served, visit: Open, language: str) -> None:
    page = visit(served)
    page.select_option("#set-language", language)
    assert page.get_attribute("html", "lang") == language
    assert page.inner_text("#act-accept .act-name") == {"en": "Accept", "ru": "Принять", "kk": "Қабылдау"}[language]
    if language != "en":
        words = page.evaluate(
            "[...document.querySelectorAll('.filters, .narratives, #listed, .panel, .actions, .tools > button:not(.who)')].map(n => n.innerText).join(' ')"
        )
        latin = set(re.findall(r"[A-Za-z]{3,}", words)) - {"NATO"}
        assert latin == set(), latin


CONTRAST = """() => {
  const lum = ([r, g, b]) => { const f = [r, g, b].map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const over = (layers) => { pen.clearRect(0, 0, 1, 1); for (const layer of layers) { pen.fillStyle = layer; pen.fillRect(0, 0, 1, 1); } return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!own || !box.width || box.width < 3 || node.closest(".sr, option, :disabled, .toast, .act.small .act-name")) continue;
    const layers = [];
    for (let up = node; up; up = up.parentElement) layers.unshift(getComputedStyle(up).backgroundColor);
    const ground = over(["white", ...layers]);
    const ink = over([`rgb(${ground})`, getComputedStyle(node).color]);
    const [a, b] = [lum(ink), lum(ground)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) bad.push(`${node.tagName}.${node.className} "${node.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(served: Served, visit: Open, scheme: str) -> None:
    page = visit(served, color_scheme=scheme, viewport={"width": 1440, "height": 900}, address="?sort=file&status=any")
    press(page, "a", "x", "5", "d")
    assert page.evaluate(CONTRAST) == []
    press(page, "g")
    assert page.evaluate(CONTRAST) == []


def test_a_screen_reader_hears_names_states_and_what_happened(served: Served, visit: Open) -> None:
    page = visit(served, address="?sort=file")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, a[href], input, select, textarea")].filter(n => n.getBoundingClientRect().width)
        .filter(n => !(n.getAttribute("aria-label") || n.innerText || n.textContent || n.labels?.[0]?.textContent || "").trim()).map(n => n.outerHTML)"""
    )
    assert unnamed == []
    assert page.get_by_role("checkbox", name="US–NATO conflation").get_attribute("aria-checked") == "true"
    assert page.get_by_role("radio", name="endorses").get_attribute("aria-checked") == "true"
    press(page, "a")
    assert page.locator("#toast[role=status]").inner_text() == "Accepted."
    assert page.evaluate("document.activeElement.id") == "card", "the next post is read from its beginning"
    page.keyboard.press("Tab")
    order = []
    for _ in range(40):
        order.append(
            page.evaluate("(() => { const n = document.activeElement; return n.closest('#card, #actions, #panel')?.id ?? n.id; })()")
        )
        page.keyboard.press("Tab")
    assert [name for i, name in enumerate(order) if name in {"card", "actions", "panel"} and name not in order[:i]] == [
        "card",
        "actions",
        "panel",
    ]
    page.click("#open-help")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    at = row(page)
    press(page, "a")
    assert row(page) == at, "single keys can be turned off"


def test_a_phone_has_everything_within_its_width(served: Served, visit: Open) -> None:
    page = visit(served, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, address="?sort=file")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('#actions button, .toggle')].filter(n => n.offsetHeight && n.offsetHeight < 40).map(n => n.id)"
    )
    assert small == []
    page.tap("#act-accept")
    until(page, "location.hash === '#1'")
    page.tap(".tools .only-narrow")
    page.tap(".line >> nth=3")
    until(page, "location.hash === '#3'")
    assert not page.locator("#side").is_visible()


def test_twenty_thousand_rows_open_fast_and_scroll(tmp_path: Path, visit: Open) -> None:
    write(tmp_path / "large.parquet", [prediction(n, label=n % 10 if n % 4 == 0 else None) for n in range(20_000)])
    with serving(tmp_path / "large.parquet") as served:
        started = time.monotonic()
        page = visit(served, address="?sort=file")
        assert time.monotonic() - started < 20
        assert "5,000 to read" in page.inner_text("#listed")
        page.locator("#list").evaluate("n => { n.scrollTop = n.scrollHeight; }")
        until(page, "document.querySelectorAll('.line').length === 100")
        page.fill("#search", "запись 19996:")
        page.keyboard.press("Enter")
        until(page, "location.hash === '#19996'")
        page.select_option("[name=status]", "any")
        until(page, "document.querySelectorAll('.line').length === 1")
        page.context.close()
