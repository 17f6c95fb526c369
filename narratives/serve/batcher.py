"""Concurrent requests scored together: whatever waits while the model is busy becomes the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from narratives.records import Post, Prediction
from narratives.scorer import Scorer
from narratives.text.language import load_identifier


class QueueFull(Exception):
    """More posts wait than are allowed to."""


class _Job(NamedTuple):
    posts: Sequence[Post]
    answer: asyncio.Future[list[Prediction]]


class Batcher:
    """One model, one thread that runs it, and requests that take turns. Use as an async context manager.

    Args:
        batch_posts: posts of a batch, at most, unless a single request has more.
        queue_posts: posts that may wait; beyond, `predict` raises `QueueFull` at once, so that clients are told instead of timed out.
        on_batch: told how many posts each batch has.
    """

    def __init__(self, scorer: Scorer, *, batch_posts: int, queue_posts: int, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self.scorer = scorer
        self.n_waiting = 0
        self._batch_posts = batch_posts
        self._queue_posts = queue_posts
        self._on_batch = on_batch
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._held: _Job | None = None
        load_identifier()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="narratives-score")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._run(), name="narratives-batches")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._worker.shutdown(cancel_futures=True)

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """The predictions of one request.

        Raises:
            QueueFull: too many posts wait already; come back later.
        """
        if self.n_waiting + len(posts) > self._queue_posts:
            raise QueueFull
        self.n_waiting += len(posts)
        try:
            job = _Job(posts, asyncio.get_running_loop().create_future())
            self._jobs.put_nowait(job)
            return await job.answer
        finally:
            self.n_waiting -= len(posts)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._next()
            posts = [post for job in jobs for post in job.posts]
            self._on_batch(len(posts))
            try:
                predictions = await loop.run_in_executor(self._worker, self.scorer.predict, posts)
            except Exception as error:  # a bug; these requests hear of it, the next ones are served
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                continue
            at = 0
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_result(predictions[at : at + len(job.posts)])
                at += len(job.posts)

    async def _next(self) -> list[_Job]:
        """Whole requests, in order, up to a batch. Requests whose client has gone are dropped."""
        jobs: list[_Job] = []
        n_posts = 0
        while True:
            if self._held is not None:
                job, self._held = self._held, None
            elif jobs and self._jobs.empty():
                return jobs
            else:
                job = await self._jobs.get()
            if job.answer.done():
                continue
            if jobs and n_posts + len(job.posts) > self._batch_posts:
                self._held = job
                return jobs
            jobs.append(job)
            n_posts += len(job.posts)
