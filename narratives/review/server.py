"""Runs the page until it is stopped: on loopback, with a fresh token, and nothing of what is asked goes to a log."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from narratives.errors import ConfigError
from narratives.review.app import create_app
from narratives.review.carry import Carried
from narratives.review.guard import Sessions
from narratives.review.index import Index
from narratives.review.rows import open_output
from narratives.review.store import Store

HOST = "127.0.0.1"


@contextmanager
def opened(path: Path, *, decisions: Path | None = None, taxonomy: str | None = None) -> Iterator[Index]:
    """An output with its decisions, closed at the end."""
    scored = open_output(path, taxonomy_name=taxonomy)
    store = Store(decisions or scored.decisions_path)
    try:
        index = Index(scored, store)
        try:
            yield index
        finally:
            index.close()
    finally:
        store.close()


def serve(
    path: Path,
    *,
    decisions: Path | None = None,
    taxonomy: str | None = None,
    port: int = 0,
    reviewer: str = "",
    language: str = "en",
    on_ready: Callable[[str, Path, Carried], None] = lambda link, decisions, carried: None,
) -> None:
    """Serve the page until interrupted.

    Args:
        path: the output of `narratives score`.
        decisions: where decisions are kept; without it, beside the output.
        taxonomy: where labels are defined: a shipped name or a TOML file.
        port: of loopback; 0 takes a free one.
        on_ready: told the link, the file of decisions, and what became of those on other versions, once the page can be opened.

    Raises:
        ConfigError: the port is taken.
        InputError: output or decisions cannot be read.
    """
    with socket.socket() as listening, opened(path, decisions=decisions, taxonomy=taxonomy) as index:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used: {error.strerror}; choose another, or leave --port out for a free one"
            ) from error
        listening.listen(64)
        token = secrets.token_urlsafe(32)
        app = create_app(index, Sessions(token, reviewer), language=language)
        index.start(patience_s=3)
        on_ready(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}", index.store.path, index.carried)
        uvicorn_server(app).run(sockets=[listening])


def uvicorn_server(app: Starlette) -> uvicorn.Server:
    """The HTTP server, silent: an address holds the token, so none is logged."""
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2)
    )
