"""OpenVINO: the fast CPU backend.

On a CPU that computes in bfloat16 (and so multiplies in int8 without overflow) it runs the int8 graph of bundles that have one: linear
layers in int8, the rest in bfloat16. Elsewhere graphs with 8-bit weights have their activations rounded in groups as they come
(dynamic quantisation), and the rest is float32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from narratives.backends import Logits, RuntimeModel
from narratives.backends.batching import TextEncoder
from narratives.config import ScoreConfig, usable_cores
from narratives.errors import ConfigError, MissingDependency
from narratives.records import STANCES

try:
    import openvino
except ImportError as error:
    raise MissingDependency("openvino", "fast") from error

_GROUP = 128
"""Activations that share a scale in int8 products; the blocks of the graph's weights are as large."""


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 (avx512_bf16 or amx_bf16); elsewhere OpenVINO has no gain in it."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


class OpenvinoBackend:
    name = "openvino"

    def __init__(self, model: RuntimeModel, config: ScoreConfig) -> None:
        if model.graph is None or model.tokenizer is None:
            raise ConfigError("this bundle has no graph for the openvino backend; use backend 'linear' or 'auto'")
        core = openvino.Core()
        floats = "bfloat16" if has_bfloat16() else "float32"
        is_dynamic = False
        if model.int8_graph is not None and floats == "bfloat16":
            self.precision, graph = "int8", model.int8_graph()
        else:
            is_dynamic = model.has_int8_weights
            self.precision, graph = "int8 dynamic" if is_dynamic else floats, model.graph()
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if floats == "bfloat16" else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if is_dynamic else 0,
            # Several batches at once, a core or a few for each: a tenth faster than all cores on one batch, which wait for each other.
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": config.threads or usable_cores(),
            # Kernels planned for shapes met: of 5,000, its own default, memory grows with the dump; 200 are as fast.
            "CPU_RUNTIME_CACHE_CAPACITY": 200,
        }
        if os.access(graph.parent, os.W_OK):
            # The compiled model is kept beside the graph: compiling takes seconds, loading it a fraction of one.
            settings["CACHE_DIR"] = str(graph.parent / "openvino")
        # As many requests as the engine finds best for its threads.
        self._queue = openvino.AsyncInferQueue(core.compile_model(str(graph), "CPU", settings))
        self._n_labels = len(model.labels)
        self._encoder = TextEncoder(
            model.tokenizer(),
            prefix=model.prefix,
            max_length=model.max_length,
            pad_id=model.pad_id,
            batch_tokens=config.batch_tokens,
            # Kernels are planned per shape and cached: multiples of 8 keep that cache small for 2% more padding.
            pad_to_multiple_of=8,
        )
        self.max_tokens = self._encoder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._encoder.count_tokens(texts)

    def logits(self, texts: Sequence[str]) -> Logits:
        labels = np.zeros((len(texts), self._n_labels), dtype=np.float32)
        stances = np.zeros((len(texts), len(STANCES)), dtype=np.float32)

        def keep(request: openvino.InferRequest, rows: list[int]) -> None:
            labels[rows] = request.get_tensor("label_logits").data
            stances[rows] = request.get_tensor("stance_logits").data

        self._queue.set_callback(keep)
        for batch in self._encoder.batches(texts):
            self._queue.start_async({"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}, batch.rows)
        self._queue.wait_all()
        return Logits(labels, stances)


def load(model: RuntimeModel, config: ScoreConfig) -> OpenvinoBackend:
    return OpenvinoBackend(model, config)
