"""Posts that end the process that scores them are found, and the others scored; what cannot be helped is one clear error."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import pytest

from narratives import isolation
from narratives.errors import ConfigError, JobError
from narratives.records import Post
from narratives.scorer import Scorer


class StandIn:
    """Scores a text as itself, and does what a text says."""

    def pipe_chunks(self, chunks: Iterable[Sequence[Post]]) -> Iterator[list[str]]:
        for chunk in chunks:
            texts = [post.text for post in chunk]
            if "crash" in texts:
                os.kill(os.getpid(), signal.SIGSEGV)
            if "exit" in texts:
                os._exit(3)
            if "out of memory" in texts:
                os.kill(os.getpid(), signal.SIGKILL)
            if "bug" in texts:
                raise ConfigError("a bug")
            if len({"one half", "other half"} & set(texts)) == 2:
                os._exit(4)
            yield texts


def load() -> Scorer:
    return cast(Scorer, StandIn())


def load_nothing() -> Scorer:
    os._exit(5)


def posts(*texts: str) -> list[Post]:
    return [Post(text=text, id=str(i)) for i, text in enumerate(texts)]


def test_posts_that_end_the_process_are_left_out() -> None:
    predictions, fatal = isolation.score(posts("a", "crash", "b", "exit", "c"), load)
    assert cast(list[str], predictions) == ["a", "b", "c"]
    assert fatal == {1: "SIGSEGV", 3: "exit code 3"}


def test_innocent_posts_are_scored_in_one_chunk() -> None:
    assert isolation.score(posts("a", "b"), load) == (["a", "b"], {})
    assert isolation.score([], load) == ([], {})


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("a", "out of memory"), r"killed from outside \(SIGKILL\): give the node more memory"),
        (("one half", "other half"), r"scoring ends its process \(exit code 4\), though each post alone can be scored"),
        (("exit", "exit", "exit"), r"more than 2 posts end the process that scores them \(exit code 3\)"),
    ],
)
def test_what_is_not_a_post_of_its_own_is_an_error(texts: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_FATAL", 2)
    with pytest.raises(JobError, match=said):
        isolation.score(posts(*texts), load)


def test_an_exception_in_the_child_is_the_callers() -> None:
    with pytest.raises(ConfigError, match="a bug"):
        isolation.score(posts("bug"), load)


def test_a_model_that_cannot_be_loaded_is_not_the_posts_fault() -> None:
    with pytest.raises(JobError, match=r"loading the model ends its process \(exit code 5\)"):
        isolation.score(posts("a"), load_nothing)
