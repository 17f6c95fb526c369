"""Live feeds: order, batches that grow by themselves, back-pressure, and ends of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from narratives import Post, Scorer
from narratives.bundle import ModelBundle
from narratives.errors import ConfigError
from narratives.serve.batcher import Batcher
from narratives.streaming import StreamConfig, astream, stream


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture
def sizes(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the model gets."""
    seen: list[int] = []
    predict = scorer.predict

    def counted(posts: list[Post]) -> object:
        seen.append(len(posts))
        return predict(posts)

    monkeypatch.setattr(scorer, "predict", counted)
    return seen


async def from_list(posts: list[Post]) -> AsyncIterator[Post]:
    for post in posts:
        yield post


async def gathered(predictions: AsyncIterator[object]) -> list[object]:
    return [prediction async for prediction in predictions]


def test_both_give_what_predict_gives_in_order(scorer: Scorer, posts: list[Post]) -> None:
    expected = scorer.predict(posts)
    assert list(stream(scorer, posts)) == expected
    assert asyncio.run(gathered(astream(scorer, from_list(posts)))) == expected


def test_an_empty_feed_ends(scorer: Scorer) -> None:
    assert list(stream(scorer, [])) == []
    assert asyncio.run(gathered(astream(scorer, from_list([])))) == []


def test_a_lone_post_is_not_kept_waiting(scorer: Scorer, posts: list[Post]) -> None:
    more = threading.Event()

    def feed() -> Iterator[Post]:
        yield posts[0]
        assert more.wait(30), "the first post's prediction did not come before the second post"
        yield posts[1]

    predictions = stream(scorer, feed())
    assert next(predictions).post is posts[0]
    more.set()
    assert next(predictions).post is posts[1]


def test_posts_that_wait_are_scored_together(scorer: Scorer, posts: list[Post], sizes: list[int]) -> None:
    predictions = stream(scorer, posts[:100], StreamConfig(max_posts=8, max_wait_s=30))
    assert len(list(predictions)) == 100
    assert sizes == [8] * 12 + [4]
    sizes.clear()
    asyncio.run(gathered(astream(scorer, from_list(posts[:100]), StreamConfig(max_posts=8, max_wait_s=30))))
    assert sizes == [8] * 12 + [4]


def test_the_wait_for_company_ends_in_time(scorer: Scorer, posts: list[Post], sizes: list[int]) -> None:
    more = threading.Event()

    def feed() -> Iterator[Post]:
        yield posts[0]
        more.wait(30)

    started = time.monotonic()
    predictions = stream(scorer, feed(), StreamConfig(max_wait_s=0.05))
    next(predictions)
    assert 0.05 <= time.monotonic() - started < 20
    assert sizes == [1]
    more.set()


def test_a_source_is_not_read_ahead_of_a_slow_consumer(scorer: Scorer, posts: list[Post]) -> None:
    n_read = 0

    def feed() -> Iterator[Post]:
        nonlocal n_read
        for post in itertools.cycle(posts):
            n_read += 1
            yield post

    config = StreamConfig(max_posts=4, queue_posts=10)
    predictions = stream(scorer, feed(), config)
    next(predictions)
    time.sleep(0.5)  # as long as it likes: no more than a batch, the queue and the post in hand
    assert n_read <= 4 + 10 + 1
    predictions.close()  # type: ignore[attr-defined]


def test_an_async_source_is_not_read_ahead_either(scorer: Scorer, posts: list[Post]) -> None:
    n_read = 0

    async def feed() -> AsyncIterator[Post]:
        nonlocal n_read
        for post in itertools.cycle(posts):
            n_read += 1
            yield post

    async def slow() -> None:
        async with contextlib.aclosing(astream(scorer, feed(), StreamConfig(max_posts=4, queue_posts=10))) as predictions:
            await anext(predictions)
            await asyncio.sleep(0.3)

    asyncio.run(slow())
    assert n_read <= 4 + 10 + 1


def test_the_event_loop_stays_free_while_the_model_works(scorer: Scorer, posts: list[Post], monkeypatch: pytest.MonkeyPatch) -> None:
    predict, ticked = scorer.predict, threading.Event()

    def slow(batch: list[Post]) -> object:
        assert ticked.wait(30), "the loop did not run beside the model"
        return predict(batch)

    monkeypatch.setattr(scorer, "predict", slow)

    async def both() -> list[object]:
        task = asyncio.create_task(gathered(astream(scorer, from_list(posts[:3]))))
        await asyncio.sleep(0.05)
        ticked.set()
        return await task

    assert len(asyncio.run(both())) == 3


def test_an_error_of_the_source_comes_after_what_came_before_it(scorer: Scorer, posts: list[Post]) -> None:
    def broken() -> Iterator[Post]:
        yield from posts[:2]
        raise ConnectionError("the feed was cut")

    async def abroken() -> AsyncIterator[Post]:
        for post in broken():
            yield post

    found: list[object] = []
    predictions = stream(scorer, broken())
    with pytest.raises(ConnectionError, match="the feed was cut"):
        found.extend(predictions)
    assert len(found) == 2
    with pytest.raises(ConnectionError, match="the feed was cut"):
        asyncio.run(gathered(astream(scorer, abroken())))


def test_a_source_that_was_cancelled_ends_the_feed(scorer: Scorer, posts: list[Post]) -> None:
    async def cancelled() -> AsyncIterator[Post]:
        yield posts[0]
        raise asyncio.CancelledError  # as a client library does whose own task was cancelled

    found: list[object] = []

    async def read() -> None:
        async for prediction in astream(scorer, cancelled()):
            found.append(prediction)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(read(), 20))
    assert len(found) == 1


def test_a_feed_that_nobody_closes_does_not_hold_the_loop(scorer: Scorer, posts: list[Post]) -> None:
    kept = []

    async def leave() -> None:
        kept.append(astream(scorer, from_list(posts), StreamConfig(max_posts=1, queue_posts=1)))
        await anext(kept[0])

    ended = threading.Thread(target=lambda: asyncio.run(leave()), daemon=True)
    ended.start()
    ended.join(20)
    assert not ended.is_alive()


def test_closing_ends_the_readers(scorer: Scorer, posts: list[Post]) -> None:
    ended = threading.Event()

    def endless() -> Iterator[Post]:
        try:
            yield from itertools.cycle(posts)
        finally:
            ended.set()

    predictions = stream(scorer, endless(), StreamConfig(queue_posts=5))
    next(predictions)
    predictions.close()  # type: ignore[attr-defined]
    assert _wait(lambda: not any(t.name == "narratives-feed" for t in threading.enumerate()))

    cancelled: list[bool] = []

    async def silent() -> AsyncIterator[Post]:
        try:
            yield posts[0]
            await asyncio.sleep(3600)
            yield posts[1]
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def leave() -> None:
        async with contextlib.aclosing(astream(scorer, silent())) as found:
            await anext(found)

    asyncio.run(leave())
    assert cancelled == [True]


def _wait(condition: object) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("settings", "message"), [({"max_posts": 0}, "max_posts is 0"), ({"max_wait_s": -1}, "max_wait_s is -1, expected 0 to 60")]
)
def test_settings_out_of_range_are_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["chunks", "astream", "batcher"])
def test_the_identifier_is_loaded_before_a_thread_asks_it(how: str, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    # An import that Ctrl-C interrupts in a thread may keep Python's import lock, and the job waits for ever.
    is_main: list[bool] = []

    def identify(_text: str) -> tuple[str, float]:
        is_main.append(threading.current_thread() is threading.main_thread())
        return "uk", 0.9

    monkeypatch.setattr("narratives.text.language._identify", identify)
    feed = [Post(text="Сьогодні ввечері в нашому місті йшов дощ, а потім був сніг", id=str(i)) for i in range(3)]

    async def run() -> None:
        if how == "astream":
            assert len([p async for p in astream(scorer, from_list(feed))]) == 3
        else:
            async with Batcher(scorer, batch_posts=8, queue_posts=8) as batcher:
                assert len(await batcher.predict(feed)) == 3

    if how == "chunks":
        assert sum(len(chunk) for chunk in scorer.pipe_chunks([feed, feed])) == 6
    else:
        asyncio.run(run())
    assert is_main[0]
    assert not all(is_main), "the posts themselves are asked about in a thread"
