"""Sentences, and windows of whole sentences for posts longer than the encoder reads at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import razdel

Span = tuple[int, int]

_MAX_SENTENCE_CHARACTERS = 2000
_LINE = re.compile(r"[^\n]+")


def sentences(text: str) -> list[Span]:
    """Offsets of the sentences, in order, without surrounding white space. A line break always ends one.

    razdel (MIT) splits Russian and Kazakh alike: it knows "т.е." and "2022 ж." A sentence of more than 2,000
    characters, which is a list or noise, is cut at white space.
    """
    spans: list[Span] = []
    for line in _LINE.finditer(text):
        if len(line.group()) > 200_000:  # one endless line: not prose, and the splitter's rules are slow on it
            spans += _cut(text, line.start(), line.end())
            continue
        for sentence in razdel.sentenize(line.group()):
            start, end = line.start() + sentence.start, line.start() + sentence.stop
            spans += _cut(text, start, end) if end - start > _MAX_SENTENCE_CHARACTERS else [(start, end)]
    return [(a, b) for a, b in spans if text[a:b].strip()]


def _cut(text: str, start: int, end: int) -> list[Span]:
    spans = []
    while end - start > _MAX_SENTENCE_CHARACTERS:
        stop = text.rfind(" ", start + 1, start + _MAX_SENTENCE_CHARACTERS)
        stop = stop if stop > start else start + _MAX_SENTENCE_CHARACTERS
        spans.append((start, stop))
        start = stop
    return [*spans, (start, end)]


@dataclass(frozen=True, slots=True)
class Windows:
    """Spans of the windows of one text, and whether text beyond the last one was left out."""

    spans: tuple[Span, ...]
    truncated: bool


def windows(text: str, count_tokens: Callable[[Sequence[str]], Sequence[int]], *, max_tokens: int, max_windows: int) -> Windows:
    """Split a text into windows of whole sentences, each of at most `max_tokens`.

    Neighbouring windows share one sentence, so that a claim and its context are seen together at least once. A sentence
    longer than a window is cut into pieces that fit.

    Args:
        text: clean text.
        count_tokens: tokens of each text, without special ones.
        max_tokens: what one window may hold, special tokens not counted.
        max_windows: windows to make at most; `truncated` says when more were needed.
    """
    pieces: list[tuple[Span, int]] = []
    spans = sentences(text)
    pending = list(zip(spans, count_tokens([text[a:b] for a, b in spans]), strict=True))[::-1]
    while pending:
        (start, end), n_tokens = pending.pop()
        if n_tokens <= max_tokens or end - start <= 1:
            pieces.append(((start, end), min(n_tokens, max_tokens)))
            continue
        # Halve at the white space nearest to the middle until it fits.
        middle = (start + end) // 2
        space = text.rfind(" ", start + 1, middle)
        middle = space if space > start + (end - start) // 4 else middle
        halves = [(start, middle), (middle, end)]
        pending += list(zip(halves, count_tokens([text[a:b] for a, b in halves]), strict=True))[::-1]

    found: list[Span] = []
    at = 0
    while at < len(pieces):
        total, stop = 0, at
        while stop < len(pieces) and (stop == at or total + pieces[stop][1] <= max_tokens):
            total += pieces[stop][1]
            stop += 1
        if len(found) == max_windows:
            return Windows(tuple(found), truncated=True)
        found.append((pieces[at][0][0], pieces[stop - 1][0][1]))
        if stop == len(pieces):
            break
        overlap = stop - 1 > at and pieces[stop - 1][1] + pieces[stop][1] <= max_tokens
        at = stop - 1 if overlap else stop
    return Windows(tuple(found), truncated=False)
