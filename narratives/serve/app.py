"""The service: `POST /v1/predict`, `GET /v1/labels`, `/healthz`, `/metrics`, `/openapi.json`.

No page is served: FastAPI's own loads scripts from elsewhere. Texts are neither logged nor kept, and a refused request is not
echoed back.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from narratives.addresses import is_loopback
from narratives.config import ScoreConfig
from narratives.errors import MissingDependency
from narratives.scorer import Scorer
from narratives.serve.config import ServeConfig

try:
    import uvicorn
    from fastapi import Body, FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    from narratives.serve.batcher import Batcher, QueueFull
    from narratives.serve.limits import Limits, RateLimit
    from narratives.serve.metrics import CONTENT_TYPE, Metrics
    from narratives.serve.schema import Answer, Health, LabelOut, Labels, PostIn, PredictionOut, Problem
except ImportError as error:
    raise MissingDependency(error.name or "fastapi", "serve") from error

__all__ = ["ServeConfig", "make_app", "run", "uvicorn_server"]


def make_app(scorer: Scorer, config: ServeConfig | None = None) -> FastAPI:
    """The ASGI app, for uvicorn or another server. It scores with one model in one thread, which uses the cores `ScoreConfig` gives it."""
    config = config or ServeConfig()
    metrics = Metrics()
    labels = _labels(scorer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scorer.predict(["готов"])  # plans kernels: the first request is as fast as the next
        async with Batcher(
            scorer, batch_posts=config.batch_posts, queue_posts=config.queue_posts, on_batch=metrics.batches.observe
        ) as app.state.batcher:
            yield

    app = FastAPI(
        title="narratives",
        summary="Finds disinformation narratives in Russian and Kazakh posts. It triages; people judge.",
        version=labels.model,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    refusals: dict[int | str, dict[str, Any]] = {
        400: {"model": Problem, "description": "Not JSON, or a Host that is not this service's."},
        401: {"model": Problem, "description": "No token, or a wrong one."},
        413: {"model": Problem, "description": "The body is too large."},
        422: {"model": Problem, "description": "The body is not of this shape."},
        429: {"model": Problem, "description": "Too many requests."},
        503: {"model": Problem, "description": "Too many posts wait."},
    }

    @app.post("/v1/predict", responses=refusals, summary="Score posts")
    async def predict(
        request: Request,
        posts: Annotated[
            list[PostIn], Body(embed=True, min_length=1, max_length=config.max_posts, description="In any number up to the limit.")
        ],
    ) -> Answer:
        """Labels, probabilities, stance and evidence of each post. Requests that come together are scored together."""
        batcher: Batcher = request.app.state.batcher
        predictions = await batcher.predict([post.to_post() for post in posts])
        metrics.posts.inc(len(predictions))
        for prediction in predictions:
            for label in prediction.labels:
                metrics.flagged.labels(label).inc()
        return Answer(model=labels.model, predictions=[PredictionOut.of(p) for p in predictions])

    @app.get("/v1/labels", responses={k: refusals[k] for k in (400, 401, 429)}, summary="The labels and their thresholds")
    async def list_labels() -> Labels:
        return labels

    @app.get("/healthz", responses={400: refusals[400], 503: {"model": Health, "description": "The model's thread has ended."}})
    async def health(request: Request, response: Response) -> Health:
        """Whether posts are scored, and how many wait."""
        batcher: Batcher = request.app.state.batcher
        if not batcher.alive:
            response.status_code = 503
        return Health(status="ok" if batcher.alive else "failing", model=labels.model, waiting_posts=batcher.n_waiting)

    @app.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **{k: refusals[k] for k in (400, 401, 429)}}
    )
    async def prometheus() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the input, which may be large and need not be encodable.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse({"detail": f"{where}: {first['msg']}" if where else str(first["msg"])}, status_code=422)

    @app.exception_handler(QueueFull)
    async def full(request: Request, error: QueueFull) -> JSONResponse:
        metrics.refused.labels("queue").inc()
        return JSONResponse({"detail": "too many posts wait; try again in a moment"}, status_code=503, headers={"retry-after": "1"})

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        # Only known routes become a label: a scanner's paths must not fill the registry.
        route = getattr(request.scope.get("route"), "path", "other")
        metrics.requests.labels(route, response.status_code).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - started)
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["cache-control"] = "no-store"
        return response

    app.add_middleware(
        Limits,
        max_body_bytes=config.max_body_bytes,
        rate=RateLimit(config.requests_per_second, config.burst) if config.requests_per_second > 0 else None,
        token=config.token,
        loopback_only=is_loopback(config.host),
        on_refusal=lambda reason: metrics.refused.labels(reason).inc(),
    )
    return app


def _labels(scorer: Scorer) -> Labels:
    thresholds = scorer.bundle.calibration.at(scorer.config.operating_point)
    return Labels(
        model=scorer.bundle.model_id,
        labels=[
            LabelOut(id=label.id, name=label.name("en"), definition=label.definition("en"), threshold=threshold)
            for label, threshold in zip(scorer.taxonomy, thresholds, strict=True)
        ],
    )


def run(
    config: ServeConfig, *, model: str | None = None, score: ScoreConfig | None = None, say: Callable[[str], None] = lambda _: None
) -> None:
    """Load the model and serve until interrupted.

    Raises:
        BundleError: there is no such model.
    """
    scorer = Scorer.from_pretrained(model, config=score, on_progress=say)
    say(f"{scorer.bundle.model_id} ({scorer.backend.name}) on http://{config.host}:{config.port}  POST /v1/predict; Ctrl-C ends it")
    uvicorn_server(make_app(scorer, config), config).run()


def uvicorn_server(app: FastAPI, config: ServeConfig) -> uvicorn.Server:
    """The server as `run` starts it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.host.strip("[]"),
            port=config.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            # A client that could name another address in X-Forwarded-For would have a new rate limit each time.
            proxy_headers=False,
            # A client that sends nothing does not hold a connection for ever.
            timeout_keep_alive=30,
            limit_concurrency=1000,
        )
    )
