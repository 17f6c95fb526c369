"""Posts that end the process that scores them (a crash of native code): found in a child process and left out, the others scored.

Used where such a post would otherwise be tried for ever: by a worker of a cluster, once a part has ended workers before.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from narratives.errors import JobError
from narratives.records import Post, Prediction
from narratives.scorer import Scorer

MAX_FATAL = 16
"""Posts left out of one part at most: with more it is not the posts."""
_REMEDY = "try another --backend, such as onnx"


class Isolated(NamedTuple):
    """`predictions` of all posts but the `fatal` ones: their indices, and how each ended the process."""

    predictions: list[Prediction]
    fatal: dict[int, str]


class _Death(NamedTuple):
    """`at` is the index of the post the child was reading, -1 before the first."""

    how: str
    at: int


def score(posts: Sequence[Post], load: Callable[[], Scorer]) -> Isolated:
    """Score posts in child processes, which may die.

    Args:
        posts: scored in one chunk, as `Scorer.pipe_chunks` would, unless that ends the child; then one by one to find which do.
        load: makes the scorer in the child; a function of a module, or a partial of one.

    Raises:
        JobError: the child was killed from outside, or it dies and no post alone is the reason, or too many are.
    """
    answer = _ask(posts, load, alone=False)
    fatal: dict[int, str] = {}
    if isinstance(answer, _Death):
        fatal = _fatal(posts, load)
        answer = _ask([post for i, post in enumerate(posts) if i not in fatal], load, alone=False)
    if isinstance(answer, _Death):
        raise JobError(f"scoring ends its process ({answer.how}), though each post alone can be scored; {_REMEDY}")
    return Isolated(answer, fatal)


def _fatal(posts: Sequence[Post], load: Callable[[], Scorer]) -> dict[int, str]:
    fatal: dict[int, str] = {}
    start = 0
    while isinstance(answer := _ask(posts[start:], load, alone=True), _Death):
        if answer.at < 0:
            raise JobError(f"loading the model ends its process ({answer.how}); {_REMEDY}")
        if len(fatal) == MAX_FATAL:
            raise JobError(f"more than {MAX_FATAL} posts end the process that scores them ({answer.how}); {_REMEDY}")
        fatal[start + answer.at] = answer.how
        start += answer.at + 1
    return fatal


def _ask(posts: Sequence[Post], load: Callable[[], Scorer], *, alone: bool) -> list[Prediction] | _Death:
    # A new interpreter: a fork would share the threads' locks of what is loaded here.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, posts, load, alone), name="narratives-isolated")
    child.start()
    theirs.close()
    at = -1
    try:
        while True:
            match ours.recv():
                case int(index):
                    at = index
                case BaseException() as error:
                    raise error
                case predictions:
                    return list(predictions)
    except (EOFError, ConnectionResetError):
        child.join()
        if child.exitcode == -signal.SIGKILL:
            raise JobError(
                "the process that scores these posts was killed from outside (SIGKILL): give the node more memory, or take fewer --workers"
            ) from None
        return _Death(_how(child.exitcode), at)
    finally:
        ours.close()
        child.join()


def _child(parent: Connection, posts: Sequence[Post], load: Callable[[], Scorer], alone: bool) -> None:
    try:
        scorer = load()
        if not alone:
            parent.send(next(iter(scorer.pipe_chunks([posts])), []))
            return
        for index, post in enumerate(posts):
            parent.send(index)
            for _ in scorer.pipe_chunks([[post]]):
                pass
        parent.send([])
    except Exception as error:
        parent.send(error)


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
