"""Live feeds: predictions as posts come, from an iterator that blocks or an async one.

Posts are scored in small batches. With `max_wait_s` 0 nothing waits for company: whatever has arrived while the model was busy is
scored together, so batches are single posts on a quiet feed and grow by themselves on a busy one. What is ahead of the model is
bounded, and so is what is ahead of the consumer: a source is not read on while `queue_posts` wait (back-pressure).

For dumps `Scorer.pipe` and `job.run` are faster: their batches are large, and nothing waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from narratives.errors import ConfigError
from narratives.records import Post, Prediction
from narratives.scorer import Scorer
from narratives.text.language import load_identifier

__all__ = ["StreamConfig", "astream", "stream"]

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How a live feed is cut into batches."""

    max_posts: int = 16
    """Posts of a batch at most: a post that comes as a batch begins waits for all of it. 16 posts are some 0.3 s on two cores."""
    max_wait_s: float = 0.0
    """How long the first post of a batch may wait for others, in seconds. 0: not at all."""
    queue_posts: int = 256
    """Posts read from the source and not scored yet, at most."""

    def __post_init__(self) -> None:
        if self.max_posts < 1 or self.queue_posts < 1:
            raise ConfigError(f"max_posts is {self.max_posts} and queue_posts {self.queue_posts}, expected at least 1")
        if not 0 <= self.max_wait_s <= 60:
            raise ConfigError(f"max_wait_s is {self.max_wait_s}, expected 0 to 60 seconds")


@dataclass(frozen=True, slots=True)
class _End:
    """Stands behind a source's last post, with what broke it, if anything did."""

    error: BaseException | None = None


def stream(scorer: Scorer, posts: Iterable[Post], config: StreamConfig | None = None) -> Iterator[Prediction]:
    """Predictions in the order of the posts, each as soon as its batch is scored.

    The source is read in a thread of its own, so that posts can gather while the model is busy. It ends with the source; closing the
    generator ends it too, once the source gives its next post. An error of the source is raised after what came before it.
    """
    config = config or StreamConfig()
    waiting: queue.Queue[Post | _End] = queue.Queue(config.queue_posts)
    closed = threading.Event()

    def put(item: Post | _End) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_POLL_S)
                return

    def read() -> None:
        try:
            for post in posts:
                put(post)
                if closed.is_set():
                    return
            put(_End())
        except BaseException as error:  # raised again where the predictions are read
            put(_End(error))

    # A daemon: a source that never gives another post must not keep the process alive.
    threading.Thread(target=read, name="narratives-feed", daemon=True).start()
    try:
        while True:
            batch, end = _next_batch(waiting, config)
            yield from scorer.predict(batch)
            if end is not None:
                if end.error is not None:
                    raise end.error
                return
    finally:
        closed.set()


def _next_batch(waiting: queue.Queue[Post | _End], config: StreamConfig) -> tuple[list[Post], _End | None]:
    item = waiting.get()
    deadline = time.monotonic() + config.max_wait_s
    batch: list[Post] = []
    while not isinstance(item, _End):
        batch.append(item)
        if len(batch) == config.max_posts:
            return batch, None
        try:
            left = deadline - time.monotonic()
            item = waiting.get(timeout=left) if left > 0 else waiting.get_nowait()
        except queue.Empty:
            return batch, None
    return batch, item


async def astream(scorer: Scorer, posts: AsyncIterable[Post], config: StreamConfig | None = None) -> AsyncIterator[Prediction]:
    """`stream` for an async source: the model runs in a thread, the event loop stays free.

    Closing the generator (`aclose`, or leaving `contextlib.aclosing`) cancels the reading of the source.
    """
    config = config or StreamConfig()
    waiting: asyncio.Queue[Post | _End] = asyncio.Queue(config.queue_posts)

    async def read() -> None:
        end = _End()
        try:
            async for post in posts:
                await waiting.put(post)
        except BaseException as error:  # raised again where the predictions are read
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # this reader is cancelled, not something that the source waited for
                raise
            end = _End(error)
        await waiting.put(end)

    reader = asyncio.create_task(read(), name="narratives-feed")
    loop = asyncio.get_running_loop()
    try:
        load_identifier()
        with ThreadPoolExecutor(1, thread_name_prefix="narratives-score") as worker:
            while True:
                batch, end = await _anext_batch(waiting, config)
                if batch:
                    for prediction in await loop.run_in_executor(worker, scorer.predict, batch):
                        yield prediction
                if end is not None:
                    if end.error is not None:
                        raise end.error
                    return
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _anext_batch(waiting: asyncio.Queue[Post | _End], config: StreamConfig) -> tuple[list[Post], _End | None]:
    item = await waiting.get()
    deadline = time.monotonic() + config.max_wait_s
    batch: list[Post] = []
    while not isinstance(item, _End):
        batch.append(item)
        if len(batch) == config.max_posts:
            return batch, None
        try:
            left = deadline - time.monotonic()
            item = await asyncio.wait_for(waiting.get(), left) if left > 0 else waiting.get_nowait()
        except (TimeoutError, asyncio.QueueEmpty):
            return batch, None
    return batch, item
