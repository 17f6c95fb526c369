"""What the service counts, for Prometheus. Nothing of a post's text or a client's address is in it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_POSTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One registry for each app: two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("narratives_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "narratives_request_seconds", "From request to answer.", ["route"], registry=self.registry, buckets=_SECONDS
        )
        self.posts = Counter("narratives_posts", "Posts scored.", registry=self.registry)
        self.flagged = Counter("narratives_flagged_posts", "Posts with a label, by label.", ["label"], registry=self.registry)
        self.batches = Histogram("narratives_batch_posts", "Posts scored together.", registry=self.registry, buckets=_POSTS)
        self.refused = Counter("narratives_refused", "Requests refused, by reason.", ["reason"], registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
