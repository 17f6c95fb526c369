"""What is refused before a request is read: bodies that are too large, clients that ask too often, hosts and tokens that are wrong."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from narratives.addresses import is_loopback

_MAX_CLIENTS = 10_000


@dataclass(slots=True)
class RateLimit:
    """A token bucket for each client: `per_second` requests on average, `burst` at once. Remembers the latest 10,000 clients."""

    per_second: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait_s(self, client: str) -> float:
        """0 and a token is taken; or how long until there is one."""
        now = self.clock()
        tokens, then = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - then) * self.per_second)
        granted = tokens >= 1
        self._buckets[client] = (tokens - 1 if granted else tokens, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self.per_second


class Limits:
    """ASGI middleware. `/healthz` is free of rate and token: whoever watches the service needs neither.

    Args:
        max_body_bytes: of a request; beyond, 413.
        rate: None: no limit; beyond, 429 with Retry-After.
        token: clients send `Authorization: Bearer <token>`; None: no token. Else 401.
        loopback_only: a `Host` header that does not name this machine gets 400 (`addresses.is_loopback` says why).
        on_refusal: told the reason.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        rate: RateLimit | None,
        token: str | None,
        loopback_only: bool,
        on_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.rate = rate
        self.token = token
        self.loopback_only = loopback_only
        self.on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        # Nobody shows a token at /healthz, and nothing is done with a body there: none is read.
        body = b"" if scope["path"] == "/healthz" else await self._body(receive)
        if body is None:
            await self._too_large()(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                while (message := await receive())["type"] == "http.request":
                    pass
                return message
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """All of the body; None once it is too large: a client need not say how much it will send."""
        # One buffer: a body that comes byte by byte must cost no more than its size.
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if self.loopback_only and not is_loopback(headers.get("host", "")):
            self.on_refusal("host")
            return _problem(400, "this service does not answer to that Host")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_body_bytes:
            return self._too_large()
        if scope["path"] == "/healthz":
            return None
        if self.token is not None:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self.token}".encode()):
                self.on_refusal("token")
                return _problem(401, "expected the header Authorization: Bearer <token>", {"www-authenticate": "Bearer"})
        if self.rate is not None:
            client = scope["client"][0] if scope.get("client") else ""
            wait = self.rate.wait_s(client)
            if wait > 0:
                self.on_refusal("rate")
                return _problem(429, f"too many requests; wait {wait:.1f} s", {"retry-after": str(max(1, round(wait)))})
        return None

    def _too_large(self) -> JSONResponse:
        self.on_refusal("body")
        return _problem(413, f"the body is larger than {self.max_body_bytes} bytes; send fewer posts at once", {"connection": "close"})


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)
