"""The range of what each linear layer of a bundle's encoder takes in, for int8 products (`encoders/int8.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from narratives.backends.batching import TextEncoder
from narratives.bundle import ModelBundle
from narratives.config import ScoreConfig
from narratives.encoders.int8 import layer_inputs
from narratives.records import Post
from narratives.training.features import read_texts

MAX_POSTS = 400
"""Posts read at most, spread evenly over those given: one minute on two cores."""

Ranges = dict[str, npt.NDArray[np.float16]]


def activation_ranges(bundle: ModelBundle, posts: Sequence[Post]) -> Ranges:
    """Lowest and highest value of each input of each linear layer, over all tokens of some posts.

    Args:
        bundle: one whose encoder is BERT-like and which keeps its torch weights.

    Returns:
        For each name of `layer_inputs` an array of shape (2, width).
    """
    runtime = bundle.runtime()
    assert runtime.tokenizer is not None
    encoder = bundle.torch_module().encoder
    shape = encoder.config
    found: dict[str, npt.NDArray[np.float32]] = {}
    real: list[torch.Tensor] = []  # which tokens of the batch are no padding

    def watch(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def keep(_layer: object, inputs: tuple[torch.Tensor, ...]) -> None:
            tokens = inputs[0][real[0]].float()
            lowest, highest = found.get(name, (np.inf, -np.inf))
            here = tokens.amin(dim=0).numpy(), tokens.amax(dim=0).numpy()
            found[name] = np.stack([np.minimum(lowest, here[0]), np.maximum(highest, here[1])])

        return keep

    for name in layer_inputs(shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size):
        # Query, key and value take in the same.
        layer = f"{name}.query" if name.endswith("attention.self") else name
        encoder.get_submodule(layer).register_forward_pre_hook(watch(name))
    reader = TextEncoder(
        runtime.tokenizer(),
        prefix=runtime.prefix,
        max_length=runtime.max_length,
        pad_id=runtime.pad_id,
        batch_tokens=ScoreConfig().batch_tokens,
    )
    with torch.inference_mode():
        n = min(MAX_POSTS, len(posts))
        for batch in reader.batches(read_texts([posts[i * len(posts) // n] for i in range(n)])):
            mask = torch.from_numpy(batch.attention_mask)
            real[:] = [mask.bool()]
            encoder(input_ids=torch.from_numpy(batch.input_ids), attention_mask=mask)
    return {name: value.astype(np.float16) for name, value in found.items()}
