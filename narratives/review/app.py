"""The page's server: every address, what it takes and gives. All answers but the page itself are JSON; the page builds its elements from
text alone, so nothing of a post is ever read as HTML."""

from __future__ import annotations

import dataclasses
import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import orjson
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from narratives.errors import NarrativesError
from narratives.records import STANCES
from narratives.review.card import card, decision
from narratives.review.figures import disagree, measure
from narratives.review.filters import SORTS, STATUSES, Filter
from narratives.review.guard import Guard, Session, Sessions
from narratives.review.index import Index
from narratives.review.store import Choice, Item, Stale, Verdict
from narratives.review.texts import item_of

PAGE_ROWS = 50
MAX_NOTE_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 40
_CHUNK_ROWS = 4000
_HERE = Path(__file__).parent

Body = dict[str, Any]
Answer = Callable[[Session, Request, Body], object]


class BadRequest(Exception):
    """What the page asked makes no sense; shown to whoever asked."""

    def __init__(self, message: str, status: int = 400, **more: object) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, **more}


def create_app(index: Index, sessions: Sessions, *, language: str = "en") -> Starlette:
    """The application for one opened output."""
    desk = Desk(index, language)
    templates = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape(default=True))

    async def page(request: Request) -> Response:
        if "token" in request.query_params:
            if not sessions.admits(request.query_params["token"]):
                return HTMLResponse(templates.get_template("closed.html").render(), status_code=403)
            response = RedirectResponse("/", status_code=303)
            if sessions.of(request) is None:  # a second tab shares the first one's session
                response.set_cookie(sessions.cookie, sessions.begin(), httponly=True, samesite="strict", path="/")
            return response
        if sessions.of(request) is None:
            return HTMLResponse(templates.get_template("closed.html").render(), status_code=403)
        return HTMLResponse(templates.get_template("page.html").render(name=index.scored.path.name, language=language))

    def api(path: str, answer: Answer, method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            session = sessions.of(request)
            if session is None:
                return _json({"error": "closed"}, 401)
            try:
                body: Body = {}
                if method == "POST":
                    if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), session.csrf.encode()):
                        raise BadRequest("the page is out of date; reload it", 403)
                    body = _object(await request.body())
                return _json(await run_in_threadpool(answer, session, request, body))
            except BadRequest as error:
                return _json(error.body, error.status)
            except Stale as error:
                return _json({"error": "stale", "decision": decision(error.standing)}, 409)
            except NarrativesError as error:
                return _json({"error": str(error)}, 400)
            except sqlite3.Error as error:  # another process writes for long, the disk is full
                return _json({"error": f"decisions cannot be read or written now ({error}); try again"}, 503)

        return Route(path, cast("Callable[[Request], Awaitable[Response]]", endpoint), methods=[method])

    routes = [
        Route("/", page),
        api("/api/session", desk.session),
        api("/api/session", desk.name, "POST"),
        api("/api/queue", desk.queue),
        api("/api/queue/{number:int}", desk.more),
        api("/api/counts", desk.counts),
        api("/api/post/{row:int}", desk.post),
        api("/api/figures", desk.figures),
        api("/api/decide", desk.decide, "POST"),
        api("/api/undo", desk.undo, "POST"),
        api("/api/bulk/preview", desk.preview, "POST"),
        api("/api/bulk", desk.bulk, "POST"),
        Route("/texts.json", lambda _: Response((_HERE / "texts.json").read_bytes(), media_type="application/json")),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard)])


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def _object(body: bytes) -> Body:
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("the body is no JSON object")
    return value


class Desk:
    """What each address does. Methods run in threads; index and store are safe there."""

    def __init__(self, index: Index, language: str) -> None:
        self._index, self._store, self._scored, self._language = index, index.store, index.scored, language

    # ---- reading ------------------------------------------------------------------------------------------------------

    def session(self, session: Session, request: Request, body: Body) -> object:
        scored = self._scored
        return {
            "reviewer": session.reviewer,
            "csrf": session.csrf,
            "language": self._language,
            "file": scored.path.name,
            "decisions": self._store.path.name,
            "n_posts": self._index.n_posts,
            "n_flagged": self._index.n_flagged,
            "thresholds_known": scored.thresholds_known,
            "n_left": self._index.carried.n_left,
            "labels": [
                {"id": label.id, "names": dict(label.names), "definitions": dict(label.definitions), "not_this": dict(label.not_this),
                 "examples": [dataclasses.asdict(e) for e in label.examples], "threshold": threshold}
                for label, threshold in zip(scored.labels, scored.thresholds, strict=True)
            ],
            "stances": STANCES,
            "sorts": SORTS,
            "statuses": STATUSES,
            "page_rows": PAGE_ROWS,
            **self._index.facets(),
            **self._state(session),
        }  # fmt: skip

    def _state(self, session: Session) -> dict[str, object]:
        return {
            "n_undoable": self._store.n_undoable(self._scored.digest, session.reviewer),
            "snippets_ready": self._index.snippets_ready,
            "clusters_ready": self._index.clusters_ready.is_set(),
            "texts_ready": self._index.texts_ready.is_set(),
            "failure": self._index.failure,
        }

    def name(self, session: Session, request: Request, body: Body) -> object:
        name = " ".join(str(body.get("reviewer", "")).split())
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise BadRequest(f"expected a name of 1 to {MAX_NAME_CHARACTERS} characters")
        session.reviewer = name
        return {"reviewer": name, **self._state(session)}

    def queue(self, session: Session, request: Request, body: Body) -> object:
        wanted = parse_filter(request.query_params)
        snapshot = self._index.snapshot(wanted, session.reviewer)
        return {
            "queue": snapshot.number,
            "total": len(snapshot.rows),
            "n_posts": snapshot.n_posts,
            "lines": self._lines(snapshot.rows[:PAGE_ROWS].tolist(), session),
            "counts": self._index.label_counts(wanted, session.reviewer),
            **self._state(session),
        }

    def counts(self, session: Session, request: Request, body: Body) -> object:
        """Of a filter, without making a list of it."""
        return {"counts": self._index.label_counts(parse_filter(request.query_params), session.reviewer)}

    def more(self, session: Session, request: Request, body: Body) -> object:
        snapshot = self._index.kept(request.path_params["number"])
        if snapshot is None:
            raise BadRequest("this list is no longer kept; load it again", 410)
        offset = _number(request.query_params, "offset", 0, 0, len(snapshot.rows))
        return {"offset": offset, "lines": self._lines(snapshot.rows[offset : offset + PAGE_ROWS].tolist(), session)}

    def _lines(self, rows: list[int], session: Session) -> list[dict[str, object]]:
        lines = self._index.lines(rows, wait=False)
        stands = self._store.standing_of(self._scored.digest, session.reviewer, rows)
        for line in lines:
            own = stands.get(cast("int", line["row"]))
            line["verdict"] = own.choice.verdict if own else None
            line["noted"] = bool(own and own.choice.note)
        return lines

    def post(self, session: Session, request: Request, body: Body) -> object:
        found = card(self._index, request.path_params["row"], session.reviewer)
        if found is None:
            raise BadRequest("the file has no such post", 404)
        return found

    def figures(self, session: Session, request: Request, body: Body) -> object:
        return measure(self._store, self._scored.digest, self._scored.label_ids)

    # ---- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, session: Session, request: Request, body: Body) -> object:
        reviewer = _named(session, body)
        row, seen = _whole(body, "row"), _whole(body, "seen")
        found = self._index.posts([row])
        if not found:
            raise BadRequest("the file has no such post", 404)
        standings = self._store.standing(self._scored.digest, row)
        own = next((s for s in standings if s.reviewer == reviewer), None)
        choice = self._choice(body, self._item(found[0], row))
        verdict, knew_copies = choice.verdict, self._index.clusters_ready.is_set()
        if verdict == "note" and own is not None and own.choice.verdict != "skip":
            choice = dataclasses.replace(own.choice, note=choice.note)
        elif verdict not in {"skip", "note"} and own is not None:
            # Only who was shown the others' decisions and says so ends a disagreement; once they did, they may correct it.
            settles = own.choice.settles or (body.get("settles") is True and disagree(standings))
            choice = dataclasses.replace(choice, settles=settles)
        clusters = self._index.with_copies([row])
        if verdict in {"skip", "note"}:  # of this post alone: its copies keep what was decided on them
            clusters = {row: clusters[row]}
        choices = list(self._same_for_copies(clusters, row, choice))
        event = self._store.decide(self._scored.digest, reviewer, choice.verdict, choices, expected=(row, seen))
        self._learn_copies(knew_copies, clusters)
        self._index.mirror()
        return {"event": event, "card": card(self._index, row, reviewer), **self._state(session)}

    def _learn_copies(self, knew: bool, rows: Iterable[int]) -> None:
        """Where copies came to be known while a decision was being written, it was written without them."""
        if not knew and self._index.clusters_ready.is_set():
            self._store.recluster(self._scored.digest, self._index.with_copies(list(rows)))

    def _choice(self, body: Body, post: Item) -> Choice:
        verdict, note, labels, stance = (body.get(name) for name in ("verdict", "note", "labels", "stance"))
        if verdict not in {"accept", "reject", "correct", "skip", "note"}:
            raise BadRequest(f"unknown verdict {verdict!r}")
        if not isinstance(note, str) or len(note) > MAX_NOTE_CHARACTERS:
            raise BadRequest(f"expected a note of up to {MAX_NOTE_CHARACTERS} characters")
        if not isinstance(labels, list) or any(label not in self._scored.label_ids for label in labels):
            raise BadRequest("labels holds an unknown label")
        if stance is not None and stance not in STANCES:
            raise BadRequest(f"unknown stance {stance!r}")
        chosen = tuple(i for i in self._scored.label_ids if i in labels and verdict != "reject")
        kept_stance = stance if chosen else None
        if verdict in {"accept", "correct"}:
            same = set(chosen) == set(post.predicted) and kept_stance == post.predicted_stance
            verdict = "accept" if same else "correct" if chosen else "reject"
        return Choice(cast("Verdict", verdict), chosen, kept_stance, note.strip())

    def _same_for_copies(self, clusters: Mapping[int, int], row: int, choice: Choice) -> Iterator[tuple[Item, Choice]]:
        for post in self._items(clusters):
            yield post, choice if post.row == row else dataclasses.replace(choice, seen=False)

    def _items(self, clusters: Mapping[int, int]) -> Iterator[Item]:
        rows = sorted(clusters)
        for start in range(0, len(rows), _CHUNK_ROWS):
            for post in self._index.posts(rows[start : start + _CHUNK_ROWS]):
                yield self._item(post, clusters[cast("int", post["row"])])

    def _item(self, post: Mapping[str, object], cluster: int) -> Item:
        return item_of(post, cluster, self._scored.label_ids)

    def undo(self, session: Session, request: Request, body: Body) -> object:
        undone = self._store.undo(self._scored.digest, _named(session, body))
        self._index.mirror()
        kind, rows = undone or (None, ())
        return {"kind": kind, "rows": rows, **self._state(session)}

    # ---- bulk ---------------------------------------------------------------------------------------------------------

    def _bulk(self, session: Session, body: Body) -> tuple[dict[int, int], int, int]:
        """Rows to decide with their cluster, how many of the list they are, how many are left as somebody decided on them before."""
        snapshot = self._index.kept(_whole(body, "queue"))
        if snapshot is None:
            raise BadRequest("this list is no longer kept; load it again", 410)
        if body.get("verdict") not in {"accept", "reject"}:
            raise BadRequest("expected accept or reject")
        clusters = self._index.with_copies(snapshot.rows.tolist())
        # What anybody reviewed stays as it is: a press of one key on a whole list says nothing against somebody's reading.
        decided = {s.row for s in self._store.standing(self._scored.digest) if s.reviewed} & clusters.keys()
        return {row: first for row, first in clusters.items() if row not in decided}, len(snapshot.rows), len(decided)

    def preview(self, session: Session, request: Request, body: Body) -> object:
        _named(session, body)
        clusters, n_listed, n_kept = self._bulk(session, body)
        rows = sorted(clusters)
        return {
            "n_listed": n_listed,
            "n_posts": len(rows),
            "n_kept": n_kept,
            "labels": self._index.labels_of(rows),
            "lines": self._index.lines([rows[i * len(rows) // 5] for i in range(5)] if len(rows) > 5 else rows),
        }

    def bulk(self, session: Session, request: Request, body: Body) -> object:
        reviewer, knew_copies = _named(session, body), self._index.clusters_ready.is_set()
        clusters, _, _ = self._bulk(session, body)
        if len(clusters) != _whole(body, "n_posts"):
            raise BadRequest("the list has changed since the preview; look at it again", 409)
        if not clusters:
            raise BadRequest("there is nothing to decide")
        accept = body["verdict"] == "accept"

        def choices() -> Iterator[tuple[Item, Choice]]:
            for post in self._items(clusters):
                if accept:
                    yield post, Choice("accept", post.predicted, post.predicted_stance, seen=False)  # type: ignore[arg-type]
                else:
                    yield post, Choice("reject", (), None, seen=False)

        event = self._store.decide(self._scored.digest, reviewer, f"bulk {body['verdict']}", choices())
        self._learn_copies(knew_copies, clusters)
        self._index.mirror()
        return {"event": event, "n_posts": len(clusters), **self._state(session)}


# ---- what comes in ----------------------------------------------------------------------------------------------------


def _named(session: Session, body: Body) -> str:
    """The reviewer, who must be the one whose name the page shows: tabs share a session, and the other may have changed it."""
    if not session.reviewer:
        raise BadRequest("say who you are first", 403)
    if body.get("as") != session.reviewer:
        raise BadRequest("another tab reviews under another name now", 409, reviewer=session.reviewer)
    return session.reviewer


def _whole(body: Body, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise BadRequest(f"expected a whole number as {name}")
    return value


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = query.get(name, str(default))
    if not value.isdigit() or not low <= int(value) <= high:
        raise BadRequest(f"expected a whole number from {low} to {high} as {name}")
    return int(value)


def parse_filter(query: Mapping[str, str]) -> Filter:
    """A filter from an address: names as in `Filter`, days as 2023-10-31 in UTC, `until` the last day that counts."""
    text = {name: query.get(name, "")[:200] for name in ("stance", "language", "channel", "search")}
    stance, sort, status = text["stance"], query.get("sort", "uncertain"), query.get("status", "open")
    if (stance and stance not in STANCES) or sort not in SORTS or status not in STATUSES:
        raise BadRequest("unknown stance, order or state of review")
    try:
        low, high = float(query.get("low") or 0), float(query.get("high") or 1)
        since, until = (datetime.fromisoformat(d).replace(tzinfo=UTC) if (d := query.get(n)) else None for n in ("since", "until"))
    except ValueError as error:
        raise BadRequest("expected a day as 2023-10-31 and a probability from 0 to 1") from error
    return Filter(
        label=query.get("label", "flagged"),
        **text,
        since=None if since is None else int(since.timestamp() * 1e6),
        until=None if until is None else int((until + timedelta(days=1)).timestamp() * 1e6),
        low=min(1.0, max(0.0, low)),
        high=min(1.0, max(0.0, high)),
        status=status,
        copies=query.get("copies") == "1",
        sort=sort,
    )
