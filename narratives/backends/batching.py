"""From texts to padded batches: tokenised together, sorted by length, filled up to a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from narratives.backends import Logits
from narratives.records import STANCES

IdArray = npt.NDArray[np.int64]
Forward = Callable[[IdArray, IdArray], Logits]


class Batch(NamedTuple):
    """`rows` are positions in the caller's list; both arrays have shape (len(rows), length)."""

    rows: list[int]
    input_ids: IdArray
    attention_mask: IdArray


class TextEncoder:
    """A tokenizer with the model's prefix and window, which makes batches.

    Args:
        tokenizer_file: a `tokenizer.json`.
        prefix: put before each text, such as "query: ".
        max_length: tokens of a window, special tokens and prefix included.
        pad_id: fills up shorter texts.
        batch_tokens: tokens of a batch, padding included.
        pad_to_multiple_of: rounds lengths up, so that an engine that plans per shape sees fewer of them.
    """

    def __init__(
        self, tokenizer_file: Path, *, prefix: str, max_length: int, pad_id: int, batch_tokens: int, pad_to_multiple_of: int = 1
    ) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.prefix = prefix
        self.max_length = max_length
        self.pad_id = pad_id
        self.batch_tokens = batch_tokens
        self.multiple = pad_to_multiple_of
        self.n_fixed = len(self.tokenizer.encode(prefix).ids)
        self.max_tokens = max_length - self.n_fixed - 1  # one more: the prefix may split differently before a text

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.tokenizer.no_truncation()
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        self.tokenizer.enable_truncation(self.max_length)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast([self.prefix + text for text in texts])]
        # Sort by length: a batch pads to its longest text. Longest first: memory peaks at the start, not after hours.
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        at = 0
        while at < len(order):
            length = -(-len(ids[order[at]]) // self.multiple) * self.multiple
            rows = order[at : at + max(1, self.batch_tokens // length)]
            at += len(rows)
            input_ids = np.full((len(rows), length), self.pad_id, dtype=np.int64)
            attention_mask = np.zeros((len(rows), length), dtype=np.int64)
            for row, i in enumerate(rows):
                input_ids[row, : len(ids[i])] = ids[i]
                attention_mask[row, : len(ids[i])] = 1
            yield Batch(rows, input_ids, attention_mask)

    def run(self, texts: Sequence[str], n_labels: int, forward: Forward) -> Logits:
        """Score every text, results in the order given."""
        labels = np.zeros((len(texts), n_labels), dtype=np.float32)
        stances = np.zeros((len(texts), len(STANCES)), dtype=np.float32)
        for batch in self.batches(texts):
            labels[batch.rows], stances[batch.rows] = forward(batch.input_ids, batch.attention_mask)
        return Logits(labels, stances)
