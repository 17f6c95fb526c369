"""Who may ask, what they get, and that nothing of a post can act: over real HTTP."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import narratives.review
from narratives.records import Evidence
from narratives.review.card import safe_link, segments
from narratives.review.guard import is_loopback
from tests.review.conftest import HOSTILE, LABELS, TOKEN, Served

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


@pytest.fixture
def client(served: Served) -> Client:
    client = Client(served)
    status, headers, _ = client.ask(f"/?token={TOKEN}")
    assert status == 303
    assert headers["location"] == "/"
    client.headers["cookie"] = headers["set-cookie"].split(";")[0]
    client.headers["x-csrf-token"] = client.json("/api/session")["csrf"]
    return client


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
    assert is_loopback("[::1]:80")
    assert not is_loopback("127.0.0.2.example:80")


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


def test_a_hostile_post_is_text(client: Client) -> None:
    card = client.json("/api/post/5")
    assert "".join(part["text"] for part in card["text"]) == HOSTILE
    assert card["url"] is None


# ---- pieces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//evil", "https:", " java\nscript:x", None, 5, "http://["]
)
def test_only_addresses_of_the_web_become_links(url: object) -> None:
    assert safe_link(url) is None


def test_an_address_of_the_web_is_a_link() -> None:
    assert safe_link(" https://t.me/x/1 ") == "https://t.me/x/1"


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
