"""The service: answers, refusals, and what it counts."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families

from narratives import Post, Scorer
from narratives.bundle import ModelBundle
from narratives.cli.serve import serve
from narratives.errors import ConfigError
from narratives.serve.app import make_app, uvicorn_server
from narratives.serve.config import ServeConfig
from narratives.serve.limits import Limits, RateLimit

RAIN = "Точно говорю: дорога, льёт дождь вчера вечером."
DRY = "Рынок открыт для всех в пятницу."
BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture(scope="module")
def client(scorer: Scorer) -> Iterator[TestClient]:
    with TestClient(make_app(scorer, ServeConfig(requests_per_second=0)), base_url=BASE) as found:
        yield found


def limited(scorer: Scorer, **settings: object) -> TestClient:
    return TestClient(make_app(scorer, ServeConfig(**settings)), base_url=BASE)  # type: ignore[arg-type]


def test_it_answers_what_the_scorer_says(client: TestClient, scorer: Scorer) -> None:
    answer = client.post("/v1/predict", json={"posts": [{"text": RAIN, "id": "а1"}, {"text": DRY}]})
    assert answer.status_code == 200
    value = answer.json()
    assert value["model"] == scorer.bundle.model_id
    first, second = value["predictions"]
    [expected] = scorer.predict([RAIN])
    assert first["id"] == "а1"
    assert first["labels"] == ["rain"]
    assert first["probabilities"] == pytest.approx(expected.probabilities)
    assert first["stance"] == "endorses"
    assert first["evidence"][0]["label"] == "rain"
    assert RAIN[first["evidence"][0]["start"] : first["evidence"][0]["end"]] == RAIN
    assert (second["id"], second["labels"], second["stance"], second["evidence"]) == (None, [], None, [])


def test_labels_health_and_headers(client: TestClient, scorer: Scorer) -> None:
    labels = client.get("/v1/labels").json()
    assert [label["id"] for label in labels["labels"]] == list(scorer.labels)
    assert [label["threshold"] for label in labels["labels"]] == pytest.approx(scorer.bundle.calibration.thresholds)
    health = client.get("/healthz")
    assert health.json() == {"status": "ok", "model": scorer.bundle.model_id, "waiting_posts": 0}
    assert health.headers["cache-control"] == "no-store"
    assert client.get("/docs").status_code == 404  # it would load scripts from elsewhere


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"posts": []}', "posts: List should have at least 1 item after validation, not 0"),
        ('{"posts": [{"text": 5}]}', "posts.0.text: Input should be a valid string"),
        ('{"posts": [{"text": "а", "author": "Иванов"}]}', "posts.0.author: Extra inputs are not permitted"),
        ('{"posts": [{"text": "\\ud800"}]}', "posts.0.text: Input should be a valid string"),
        ("{", "1: JSON decode error"),
        (f'{{"posts": [{{"text": "{"а" * 100_001}"}}]}}', "posts.0.text: String should have at most 100000 characters"),
        ('{"posts": [' + ", ".join(['{"text": "а"}'] * 65) + "]}", "posts: List should have at most 64 items after validation, not 65"),
    ],
)
def test_what_is_malformed_is_named_and_not_echoed(client: TestClient, body: str, detail: str) -> None:
    answer = client.post("/v1/predict", content=body.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json().keys() == {"detail"}
    assert answer.json()["detail"].startswith(detail)
    assert "Иванов" not in answer.text


def test_a_large_body_is_refused_whether_it_says_its_size_or_not(scorer: Scorer) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 100

    with limited(scorer, max_body_bytes=1000) as client:
        said = client.post("/v1/predict", json={"posts": [{"text": "а" * 2000}]})
        unsaid = client.post("/v1/predict", content=drip(), headers={"content-type": "application/json"})
        for answer in (said, unsaid):
            assert answer.status_code == 413
            assert answer.json()["detail"] == "the body is larger than 1000 bytes; send fewer posts at once"
        assert client.post("/v1/predict", json={"posts": [{"text": "а"}]}).status_code == 200


def test_a_body_that_drips_costs_no_more_than_its_size() -> None:
    n, n_compared = 200_000, 0

    async def receive() -> dict[str, object]:
        nonlocal n_compared
        n_compared += 1
        return {"type": "http.request", "body": b"x", "more_body": n_compared < n}

    async def app(scope: object, receive: object, send: object) -> None: ...

    limits = Limits(app, max_body_bytes=2**20, rate=None, token=None, loopback_only=False)
    started = time.process_time()
    assert asyncio.run(limits._body(receive)) == b"x" * n
    assert time.process_time() - started < 10  # a sum over all parts for each part: minutes


def test_health_reads_no_body(scorer: Scorer) -> None:
    """Nobody shows a token there, so nobody may make the service hold a megabyte either."""
    app = make_app(scorer, ServeConfig(token="x" * 32))
    n_read, sent = 0, list[dict[str, object]]()

    async def receive() -> dict[str, object]:
        nonlocal n_read
        n_read += 1
        return {"type": "http.request", "body": b" " * 1000, "more_body": True} if n_read < 50 else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            sent.append(message | {"n_read": n_read})

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": [(b"host", b"127.0.0.1")], "query_string": b"", "app": app}
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert [(message["status"], message["n_read"]) for message in sent] == [(200, 0)]


def test_a_client_cannot_name_its_own_address(scorer: Scorer) -> None:
    """Else it would have a new rate limit with each request."""
    config = ServeConfig()
    server = uvicorn_server(make_app(scorer, config), config)
    server.config.load()
    assert isinstance(server.config.loaded_app, FastAPI)


def test_a_client_that_asks_too_often_is_told_how_long_to_wait(scorer: Scorer) -> None:
    with limited(scorer, requests_per_second=0.001, burst=2) as client:
        assert [client.get("/v1/labels").status_code for _ in range(3)] == [200, 200, 429]
        refused = client.get("/v1/labels")
        assert int(refused.headers["retry-after"]) > 900
        assert refused.json()["detail"].startswith("too many requests; wait ")
        assert client.get("/healthz").status_code == 200


def test_a_bucket_fills_again_and_clients_do_not_share_one() -> None:
    now = 0.0
    limit = RateLimit(2.0, 1, clock=lambda: now)
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a") == pytest.approx(0.5)
    assert limit.wait_s("b") == 0
    now = 0.5
    assert limit.wait_s("a") == 0


def test_a_token_is_asked_for(scorer: Scorer) -> None:
    token = "x" * 32
    with limited(scorer, token=token) as client:
        assert client.get("/v1/labels").status_code == 401
        assert client.get("/v1/labels", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/v1/labels", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_a_name_that_is_not_loopbacks_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/labels", headers={"host": "attacker.example:8765"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "this service does not answer to that Host")
    for host in ("localhost:8765", "127.0.0.1", "[::1]:8765", "127.0.0.2:8765"):
        assert client.get("/v1/labels", headers={"host": host}).status_code == 200


def test_another_content_type_is_refused(client: TestClient) -> None:
    """A form of a foreign page can post text/plain without asking; it must not be read as JSON."""
    answer = client.post("/v1/predict", content=b'{"posts": [{"text": "x"}]}', headers={"content-type": "text/plain"})
    assert answer.status_code == 422


def test_concurrent_requests_are_scored_together_and_in_turn(scorer: Scorer, posts: list[Post]) -> None:
    app = make_app(scorer, ServeConfig(requests_per_second=0, batch_posts=16))
    texts = [post.text for post in posts]
    expected = [list(p.labels) for p in scorer.predict(texts)]

    async def run() -> tuple[list[list[str]], str]:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            answers = await asyncio.gather(*(client.post("/v1/predict", json={"posts": [{"text": text}]}) for text in texts))
            metrics = (await client.get("/metrics")).text
        return [answer.json()["predictions"][0]["labels"] for answer in answers], metrics

    found, metrics = asyncio.run(run())
    assert found == expected
    values = {s.name + str(sorted(s.labels.values())): s.value for f in text_string_to_metric_families(metrics) for s in f.samples}
    assert values["narratives_posts_total[]"] == len(texts)
    assert values["narratives_flagged_posts_total['rain']"] == sum("rain" in labels for labels in expected)
    assert values["narratives_batch_posts_sum[]"] == len(texts)
    assert values["narratives_batch_posts_count[]"] < len(texts) / 2
    assert values["narratives_batch_posts_bucket['16.0']"] == values["narratives_batch_posts_count[]"]
    assert values["narratives_requests_total['/v1/predict', '200']"] == len(texts)


def test_too_many_waiting_posts_are_refused_at_once(scorer: Scorer) -> None:
    app = make_app(scorer, ServeConfig(requests_per_second=0, max_posts=2, queue_posts=5))

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await asyncio.gather(*(client.post("/v1/predict", json={"posts": [{"text": RAIN}] * 2}) for _ in range(6)))

    answers = asyncio.run(run())
    assert sorted({answer.status_code for answer in answers}) == [200, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json() == {"detail": "too many posts wait; try again in a moment"}


def test_an_error_in_the_model_reaches_its_requests_and_not_the_next(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(make_app(scorer, ServeConfig()), base_url=BASE, raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(scorer, "predict", lambda posts: 1 / 0)
            assert client.post("/v1/predict", json={"posts": [{"text": RAIN}]}).status_code == 500
        assert client.post("/v1/predict", json={"posts": [{"text": RAIN}]}).status_code == 200
        assert client.get("/healthz").json()["status"] == "ok"


def test_unknown_paths_do_not_fill_the_metrics(client: TestClient) -> None:
    for i in range(5):
        assert client.get(f"/wp-admin/{i}").status_code == 404
    text = client.get("/metrics").text
    assert "wp-admin" not in text
    assert 'route="other",status="404"' in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "host 0.0.0.0 can be reached from other machines, and there is no token. Set NARRATIVES_TOKEN"),
        ({"host": "example.org"}, "can be reached from other machines"),
        ({"token": "short"}, "the token has fewer than 16 characters; make a long random one"),
        ({"max_posts": 0}, "max_posts is 0, expected at least 1"),
        (
            {"max_posts": 600},
            "max_posts is 600 and queue_posts 512: a request of more posts than may wait would never be scored. "
            "Lower max_posts or raise queue_posts",
        ),
    ],
)
def test_settings_that_would_harm_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServeConfig(**settings)  # type: ignore[arg-type]


def test_the_commands_options_are_the_settings_with_their_defaults() -> None:
    options = {name: option.default for name, option in inspect.signature(serve).parameters.items()}
    given_twice = {name: default for name, default in dataclasses.asdict(ServeConfig()).items() if name in options}
    assert given_twice == {name: options[name] for name in given_twice}
    assert set(given_twice) == {"host", "port", "token", "max_body_bytes", "max_posts", "requests_per_second"}


# ---- any request at all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/predict"), ("GET", "/v1/labels"), ("GET", "/healthz"), ("GET", "/metrics")], ids=str
)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_what_openapi_says(scorer: Scorer, method: str, path: str, mode: schemathesis.GenerationMode) -> None:
    app = make_app(scorer, ServeConfig(requests_per_second=0))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "127.0.0.1"})
    operation = schema[path][method]
    n_requests = 0

    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        nonlocal n_requests
        n_requests += 1
        case.call_and_validate(base_url=BASE)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE and method == "GET"  # nothing can be wrong in a request without parameters
    else:
        assert n_requests >= 1


def test_every_path_is_described(client: TestClient) -> None:
    assert set(client.get("/openapi.json").json()["paths"]) == {"/v1/predict", "/v1/labels", "/healthz", "/metrics"}
