"""Settings of the service: each once, with unit, default and reason. Nothing of `narratives[serve]` is needed to make them."""

from __future__ import annotations

from dataclasses import dataclass

from narratives.addresses import is_loopback
from narratives.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Where the service listens and what it refuses."""

    host: str = "127.0.0.1"
    """Loopback: reachable from this machine only. Anything else needs `token`."""
    port: int = 8765
    token: str | None = None
    """Clients send it as `Authorization: Bearer <token>`; None: no token is asked for."""
    max_body_bytes: int = 2**20
    """Of one request, 1 MiB."""
    max_posts: int = 64
    """Of one request."""
    queue_posts: int = 512
    """Posts of all requests that may wait; beyond, 503 with Retry-After."""
    batch_posts: int = 32
    """Posts scored together, at most: some 0.6 s on two cores."""
    requests_per_second: float = 50.0
    """Of one client, on average; 0: no limit. Behind a proxy all are one client (X-Forwarded-For is not believed): let it limit."""
    burst: int = 100
    """Requests of one client at once."""

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_posts", "queue_posts", "batch_posts", "burst"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.max_posts > self.queue_posts:
            raise ConfigError(
                f"max_posts is {self.max_posts} and queue_posts {self.queue_posts}: a request of more posts than may wait would never be "
                f"scored. Lower max_posts or raise queue_posts"
            )
        if self.requests_per_second < 0:
            raise ConfigError(f"requests_per_second is {self.requests_per_second}, expected 0 (no limit) or more")
        if self.token is not None and len(self.token) < 16:
            raise ConfigError("the token has fewer than 16 characters; make a long random one")
        if not is_loopback(self.host) and self.token is None:
            raise ConfigError(
                f"host {self.host} can be reached from other machines, and there is no token. Set NARRATIVES_TOKEN to a long random text, "
                "or listen on 127.0.0.1"
            )
