"""Who may speak to the page: nobody but this machine's browser with the printed link, and never on another site's behalf.

The server listens on loopback. A name of another host in `Host` is refused, so that a site whose name is made to point here
(DNS rebinding) reads nothing. The token of the link is changed for a cookie that scripts cannot read; a change of data needs, besides, a
header that only the page knows and an `Origin` that is the page's own.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from narratives.addresses import is_loopback

MAX_BODY_BYTES = 64 * 1024
MAX_SESSIONS = 200

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
    "cache-control": "no-store",
}


@dataclass(slots=True)
class Session:
    """One browser: its secret for changes, and the reviewer's name once given."""

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    reviewer: str = ""


class Sessions:
    """Browsers that came with the link; forgotten when the server stops."""

    def __init__(self, token: str, reviewer: str = "") -> None:
        self._token, self._reviewer = token, reviewer
        self._open: dict[str, Session] = {}
        # Cookies do not know ports: two servers on one machine must not take each other's.
        self.cookie = f"narratives-review-{secrets.token_hex(4)}"

    def admits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())

    def begin(self) -> str:
        """A new session's id."""
        if len(self._open) >= MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        name = secrets.token_urlsafe(24)
        self._open[name] = Session(reviewer=self._reviewer)
        return name

    def of(self, request: Request) -> Session | None:
        return self._open.get(request.cookies.get(self.cookie, ""))


class Guard:
    """Refuses foreign hosts, foreign origins and large bodies, and puts the headers above on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if refusal := self._refusal(Headers(scope=scope), scope["method"]):
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    @staticmethod
    def _refusal(headers: Headers, method: str) -> str | None:
        host = headers.get("host", "")
        if not is_loopback(host):
            return "This page answers to 127.0.0.1 and localhost only."
        if method in {"GET", "HEAD"}:
            return None
        origin = urlsplit(headers.get("origin", ""))
        if origin.scheme != "http" or origin.netloc != host:
            return "A change must come from the page itself: Origin is missing or another."
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "A change must come from the page itself."
        if headers.get("content-type", "").split(";")[0] != "application/json":
            return "Expected application/json."
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return f"Expected a body of known length, up to {MAX_BODY_BYTES} bytes."
        return None
