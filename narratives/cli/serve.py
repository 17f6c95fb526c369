"""`narratives serve`: the scorer as a small HTTP service."""

from __future__ import annotations

from typing import Annotated

import typer

from narratives.cli.options import BackendOption, LabelsOption, ModelOption, OperatingPointOption, ids, say
from narratives.config import ScoreConfig
from narratives.serve.config import ServeConfig

_DEFAULT = ServeConfig()


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs --token.")] = _DEFAULT.host,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = _DEFAULT.port,
    token: Annotated[
        str | None,
        typer.Option(envvar="NARRATIVES_TOKEN", show_envvar=True, help="What clients send as a bearer token; better in the variable."),
    ] = _DEFAULT.token,
    model: ModelOption = None,
    labels: LabelsOption = None,
    operating_point: OperatingPointOption = "balanced",
    backend: BackendOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; without it, all cores.")] = None,
    evidence: Annotated[bool, typer.Option("--evidence/--no-evidence", help="Find the sentences that carry each label.")] = True,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Of one request.")] = _DEFAULT.max_body_bytes,
    max_posts: Annotated[int, typer.Option(min=1, help="Of one request.")] = _DEFAULT.max_posts,
    requests_per_second: Annotated[
        float, typer.Option(min=0, help="Of one client, on average; 0: no limit.")
    ] = _DEFAULT.requests_per_second,
) -> None:
    """Serve the scorer over HTTP: POST /v1/predict, GET /v1/labels, /healthz, /metrics, /openapi.json.

    Needs `pip install 'narratives\\[serve]'`. Requests that come together are scored together.

    [bold]Example[/bold]

    narratives serve --port 8765
    """
    from narratives.serve.app import run

    config = ServeConfig(
        host=host, port=port, token=token, max_body_bytes=max_body_bytes, max_posts=max_posts, requests_per_second=requests_per_second
    )
    score = ScoreConfig(backend=backend, threads=threads, evidence=evidence, labels=ids(labels), operating_point=operating_point)
    run(config, model=model, score=score, say=say)
