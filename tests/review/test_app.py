"""Who may ask, what they get, and that nothing of a post can act: over real HTTP."""

from __future__ import annotations

import http.client
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import narratives.review
from narratives.records import Evidence
from narratives.review.card import segments
from narratives.review.server import opened
from narratives.review.texts import item_of
from tests.review.conftest import HOSTILE, LABELS, TOKEN, Served, choice, serving, small, write

HERE = Path(narratives.review.__file__).parent


@dataclass
class Client:
    """A browser without a page: keeps the cookie, sends what it is told."""

    served: Served
    headers: dict[str, str] = field(default_factory=dict)
    name: str = "Айгерім"

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.served.host, self.served.port, timeout=20)
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            body = {"as": self.name, **body} if isinstance(body, dict) else body
            origin = f"http://{self.served.host}:{self.served.port}"
            sent = {"origin": origin, "content-type": "application/json", **sent}
            connection.request("POST", path, json.dumps(body), sent)
        else:
            connection.request("GET", path, headers=sent)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, path: str, body: object = None, **headers: str) -> dict:  # type: ignore[type-arg]
        status, _, answer = self.ask(path, body, **headers)
        assert status == 200, answer
        return json.loads(answer)  # type: ignore[no-any-return]


def entered(served: Served) -> Client:
    """A client that came by the link."""
    client = Client(served)
    status, headers, _ = client.ask(f"/?token={TOKEN}")
    assert status == 303
    assert headers["location"] == "/"
    client.headers["cookie"] = headers["set-cookie"].split(";")[0]
    client.headers["x-csrf-token"] = client.json("/api/session")["csrf"]
    return client


@pytest.fixture
def client(served: Served) -> Client:
    return entered(served)


def test_without_the_link_there_is_nothing_to_see(served: Served) -> None:
    stranger = Client(served)
    assert stranger.ask("/")[0] == 403
    assert stranger.ask("/?token=guess")[0] == 403
    assert stranger.ask("/api/session")[0] == 401
    assert stranger.ask("/api/post/0")[0] == 401
    assert stranger.ask("/api/undo", {})[0] == 401
    stranger.headers["cookie"] = "narratives-review-1=x"
    assert stranger.ask("/api/queue")[0] == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(served: Served) -> None:
    cookie = Client(served).ask(f"/?token={TOKEN}")[1]["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie


def test_another_name_for_this_machine_is_refused(client: Client) -> None:
    for host in ("evil.example", f"evil.example:{client.served.port}", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        assert client.ask("/api/session", host=host)[0] in {400, 403}, host
    assert client.ask("/api/session", host="localhost:9999")[0] == 200, "an SSH tunnel has another port"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"origin": ""},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"x_csrf_token": "guess"},
        {"x_csrf_token": ""},
        {"content_length": "70000"},
    ],
)
def test_a_change_from_elsewhere_is_refused(client: Client, headers: dict[str, str]) -> None:
    body = {"row": 1, "seen": 0, "verdict": "accept", "labels": [], "stance": None, "note": ""}
    assert client.ask("/api/decide", body, **headers)[0] == 403
    assert client.json("/api/post/1")["decision"] is None


def test_every_answer_carries_the_policy(client: Client) -> None:
    for path in ("/", "/api/session", "/static/main.js", "/texts.json", "/nowhere"):
        headers = client.ask(path)[1]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_the_page_asks_no_other_host_and_has_no_script_of_its_own(client: Client) -> None:
    page = client.ask("/")[2].decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\son\w+=|style=|javascript:", page) == []
    for path in [*HERE.glob("static/*"), *HERE.glob("templates/*")]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and '"//' not in text, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path.name


def test_files_outside_the_static_folder_are_not_served(client: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/templates/page.html"):
        assert client.ask(path)[0] in {403, 404}, path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 999}, "the file has no such post"),
        ({"row": "1"}, "expected a whole number as row"),
        ({"verdict": "burn"}, "unknown verdict 'burn'"),
        ({"labels": ["rain"]}, "labels holds an unknown label"),
        ({"labels": "us_biolabs"}, "labels holds an unknown label"),
        ({"stance": "shouts"}, "unknown stance 'shouts'"),
        ({"note": "x" * 2001}, "expected a note of up to 2000 characters"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(client: Client, change: dict[str, object], message: str) -> None:
    body = {"row": 1, "seen": 0, "verdict": "accept", "labels": [LABELS[1]], "stance": "endorses", "note": ""} | change
    status, _, answer = client.ask("/api/decide", body)
    assert status in {400, 404}
    assert json.loads(answer)["error"] == message


def test_a_bad_filter_is_refused(client: Client) -> None:
    for query in ("sort=x", "status=x", "stance=x", "since=yesterday", "low=a", "label=rain"):
        assert client.ask(f"/api/queue?{query}")[0] == 400, query


def decide(client: Client, row: int, verdict: str, labels: list[str], stance: str | None = None, seen: int = 0) -> dict:  # type: ignore[type-arg]
    return client.json("/api/decide", {"row": row, "seen": seen, "verdict": verdict, "labels": labels, "stance": stance, "note": ""})


def test_a_decision_on_a_repost_counts_for_all_copies(client: Client) -> None:
    decide(client, 10, "accept", [LABELS[0]], "endorses")
    for row in (0, 10, 11):
        assert client.json(f"/api/post/{row}")["decision"]["verdict"] == "accept"
    client.json("/api/undo", {})
    assert client.json("/api/post/0")["decision"] is None


def test_a_second_reading_is_blind_until_it_is_made_and_then_can_settle(client: Client) -> None:
    decide(client, 1, "accept", [LABELS[1]], "endorses")
    client.json("/api/session", {"reviewer": "Болат"})
    body = {"row": 1, "seen": 0, "verdict": "reject", "labels": [], "stance": None, "note": ""}
    status, _, answer = client.ask("/api/decide", body)
    assert (status, json.loads(answer)["reviewer"]) == (409, "Болат"), "the first tab still shows the first name"
    client.name = "Болат"
    seen = client.json("/api/post/1")
    assert (seen["n_others"], seen["others"]) == (1, [])
    assert client.json("/api/queue?status=second")["total"] == 1
    said = decide(client, 1, "reject", [])["card"]
    assert said["disagree"]
    assert said["others"][0]["labels"] == [LABELS[1]]
    assert client.json("/api/figures")["n_disagreements"] == 1
    for verdict in ("note", "reject"):
        said = decide(client, 1, verdict, [], seen=said["decision"]["event"])["card"]
        assert said["disagree"], "nothing settles it but saying so"
    take = {"row": 1, "seen": said["decision"]["event"], "verdict": "accept", "labels": [LABELS[1]], "stance": "endorses", "note": ""}
    settled = client.json("/api/decide", {**take, "settles": True})["card"]
    assert not settled["disagree"]
    assert client.json("/api/figures")["n_disagreements"] == 0


def test_a_skip_leaves_what_was_decided_on_copies(client: Client) -> None:
    said = decide(client, 0, "accept", [LABELS[0]], "endorses")["card"]
    decide(client, 0, "skip", [], seen=said["decision"]["event"])
    assert client.json("/api/post/10")["decision"]["verdict"] == "accept"


def test_bulk_decides_what_its_preview_showed(client: Client) -> None:
    decide(client, 3, "reject", [])
    queue = client.json("/api/queue?status=any")
    seen = client.json("/api/bulk/preview", {"queue": queue["queue"], "verdict": "accept"})
    assert (seen["n_listed"], seen["n_posts"], seen["n_kept"]) == (18, 19, 1)
    assert seen["labels"][LABELS[0]] == 3
    stale = {"queue": queue["queue"], "verdict": "accept", "n_posts": 5}
    assert client.ask("/api/bulk", stale)[0] == 409
    assert client.json("/api/bulk", {**stale, "n_posts": 19})["n_posts"] == 19
    assert client.json("/api/queue")["total"] == 0
    assert client.json("/api/post/3")["decision"]["verdict"] == "reject"
    assert client.json("/api/post/7")["decision"]["labels"] == [LABELS[7]]
    assert client.json("/api/undo", {})["kind"] == "bulk accept"
    assert client.json("/api/queue")["total"] == 17


def test_bulk_leaves_what_anybody_reviewed_and_takes_what_was_only_skipped(client: Client) -> None:
    index = client.served.index
    third, fourth = (item_of(post, int(str(post["row"])), LABELS) for post in index.posts([3, 4]))
    index.store.decide(index.scored.digest, "Другой", "reject", [(third, choice())])
    index.store.decide(index.scored.digest, "Другой", "skip", [(fourth, choice(verdict="skip"))])
    queue = client.json("/api/queue?status=any")["queue"]
    seen = client.json("/api/bulk/preview", {"queue": queue, "verdict": "accept"})
    assert seen["n_kept"] == 1
    client.json("/api/bulk", {"queue": queue, "verdict": "accept", "n_posts": seen["n_posts"]})
    assert [client.json(f"/api/post/{row}")["decision"] is None for row in (3, 4)] == [True, False]


def test_bulk_is_refused_when_another_tab_decided_since_the_preview(client: Client) -> None:
    queue = client.json("/api/queue?status=any")["queue"]
    seen = client.json("/api/bulk/preview", {"queue": queue, "verdict": "reject"})
    assert len(seen["lines"]) == 5
    assert all(line["snippet"] for line in seen["lines"])
    decide(client, 4, "accept", [LABELS[4]], "endorses")
    status, _, answer = client.ask("/api/bulk", {"queue": queue, "verdict": "reject", "n_posts": seen["n_posts"]})
    assert (status, json.loads(answer)["error"]) == (409, "the list has changed since the preview; look at it again")
    again = client.json("/api/bulk/preview", {"queue": queue, "verdict": "reject"})
    assert (again["n_posts"], again["n_kept"]) == (seen["n_posts"] - 1, 1)
    client.json("/api/bulk", {"queue": queue, "verdict": "reject", "n_posts": again["n_posts"]})
    assert client.json("/api/post/4")["decision"]["verdict"] == "accept"
    assert client.json("/api/undo", {})["n_undoable"] == 1
    assert client.json("/api/post/7")["decision"] is None
    assert client.json("/api/post/4")["decision"]["verdict"] == "accept"


def test_a_tab_that_has_not_seen_what_another_decided_is_told_and_writes_nothing(client: Client) -> None:
    first = decide(client, 1, "accept", [LABELS[1]], "endorses")
    body = {"row": 1, "seen": 0, "verdict": "reject", "labels": [], "stance": None, "note": ""}
    status, _, answer = client.ask("/api/decide", body)
    assert (status, json.loads(answer)["error"]) == (409, "stale")
    assert json.loads(answer)["decision"]["event"] == first["event"]
    assert client.json("/api/post/1")["decision"]["verdict"] == "accept"
    assert client.json("/api/decide", {**body, "seen": first["event"]})["card"]["decision"]["verdict"] == "reject"


def test_of_tabs_that_decide_at_once_one_is_written(client: Client) -> None:
    answers: list[int] = []

    def tab(label: str) -> None:
        body = {"row": 1, "seen": 0, "verdict": "correct", "labels": [label], "stance": "reports", "note": ""}
        answers.append(client.ask("/api/decide", body)[0])

    tabs = [threading.Thread(target=tab, args=(label,)) for label in LABELS[:6]]
    for one in tabs:
        one.start()
    for one in tabs:
        one.join()
    assert sorted(answers) == [200, 409, 409, 409, 409, 409]
    assert client.json("/api/session")["n_undoable"] == 1


def test_figures_say_how_far_two_reviewers_agree(client: Client) -> None:
    readings = {1: (True, True), 2: (True, False), 3: (False, False), 4: (True, True)}
    for name, number in (("Айгерім", 0), ("Болат", 1)):
        client.json("/api/session", {"reviewer": name})
        client.name = name
        for row, said in readings.items():
            decide(client, row, "accept" if said[number] else "reject", [LABELS[row]] if said[number] else [], "endorses")
    found = client.json("/api/figures")
    assert (found["n_twice"], found["n_same"], found["n_disagreements"]) == (4, 3, 1)
    assert found["reviewers"] == {"Айгерім": 4, "Болат": 4}
    # Of eight values the label of post 2 has one: observed disagreement 2/8, expected 2*1*7/(8*7).
    assert found["alpha"][LABELS[2]] == pytest.approx(1 - 0.25 / 0.25)
    assert found["alpha"][LABELS[1]] == 1
    assert found["alpha"][LABELS[9]] is None
    assert found["alpha"]["stance"] is None, "all gave one stance"


def test_the_list_comes_before_its_texts(output: Path) -> None:
    with opened(output) as index:
        rows = [3, 1, 25]
        before = index.lines(rows, wait=False)
        assert not index.snippets_ready
        assert [(line["row"], line["snippet"]) for line in before] == [(3, None), (1, None), (25, None)]
        waited = index.lines(rows)
        assert [str(line["snippet"]).split(":")[0] for line in waited] == ["Запись 3", "Запись 1", "Запись 25"]
        index.start()
        assert index.texts_ready.wait(20)
        assert index.lines(rows, wait=False) == waited


def test_the_page_tells_how_many_decided_posts_are_not_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "out.parquet", small())
    with opened(path) as index:
        posts = index.posts([1, 2])
        items = [(item_of(post, int(str(post["row"])), LABELS), choice()) for post in posts]
        index.store.decide(index.scored.digest, "Айгерім", "bulk reject", items)
    with serving(write(path, small()[2:])) as running:
        client = entered(running)
        assert client.json("/api/session")["n_left"] == 1
        assert client.json("/api/post/0")["decision"]["verdict"] == "reject"
        assert client.json("/api/queue?status=mine")["total"] == 1
        assert client.json("/api/undo", {})["kind"] == "bulk reject"
        assert client.json("/api/post/0")["decision"] is None


def test_a_hostile_post_is_text(client: Client) -> None:
    card = client.json("/api/post/5")
    assert "".join(part["text"] for part in card["text"]) == HOSTILE
    assert card["url"] is None


# ---- pieces ------------------------------------------------------------------------------------------------------------


def evidence(label: str, start: int, end: int, text: str) -> dict[str, object]:
    found = Evidence(label, start, end, 0.5)
    return {"label": found.label, "start": found.start, "end": found.end, "weight": found.weight, "text": text}


def test_overlapping_evidence_is_cut_at_its_edges() -> None:
    text = "Один. Два. Три."
    parts = segments(text, [evidence("rain", 0, 10, "Один. Два."), evidence("snow", 6, 15, "Два. Три.")], ["rain", "snow"])
    assert [(p["text"], p["labels"]) for p in parts] == [("Один. ", [0]), ("Два.", [0, 1]), (" Три.", [1])]


def test_evidence_that_has_moved_is_found_by_its_words_or_left_out() -> None:
    moved = segments("'=Один. Два.", [evidence("rain", 0, 5, "Один.")], ["rain"])
    assert [p["text"] for p in moved if p["labels"]] == ["Один."]
    lost = segments("Один.", [evidence("rain", 90, 95, "Пять."), evidence("gone", 0, 5, "Один.")], ["rain"])
    assert lost == [{"text": "Один.", "labels": []}]


def test_the_words_of_the_page_are_whole_in_three_languages() -> None:
    texts = json.loads((HERE / "texts.json").read_text("utf-8"))
    assert set(texts) == {"en", "ru", "kk"}
    for key, english in texts["en"].items():
        for language in ("ru", "kk"):
            assert texts[language][key].strip()
            assert set(re.findall(r"\{\w+\}", texts[language][key])) == set(re.findall(r"\{\w+\}", english)), key
    assert texts["en"].keys() == texts["ru"].keys() == texts["kk"].keys()
    code = "\n".join(path.read_text("utf-8") for path in [*HERE.glob("static/*.js"), *HERE.glob("templates/*")])
    for key in re.findall(r"""(?:\bt\(|data-t=)["'](\w+)["']""", code):
        assert key in texts["en"], key
