"""OpenVINO: the fast CPU backend.

Where the graph has 8-bit weights, matrix products are in int8, activations rounded in groups as they come (dynamic quantisation);
the rest, and graphs with float weights, in bfloat16 where the CPU computes in it, else in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino

from narratives.backends import Logits, RuntimeModel
from narratives.backends.batching import IdArray, TextEncoder
from narratives.config import ScoreConfig, usable_cores
from narratives.errors import ConfigError

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
        self.precision = "int8" if model.has_int8_weights else floats
        graph = model.graph()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if floats == "bfloat16" else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if self.precision == "int8" else 0,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": config.threads or usable_cores(),
            "NUM_STREAMS": 1,
            # The compiled model is kept beside the graph: compiling takes seconds, loading it a fraction of one.
            "CACHE_DIR": str(graph.parent / "openvino"),
        }
        self._request = core.compile_model(str(graph), "CPU", settings).create_infer_request()
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
        return self._encoder.run(texts, self._n_labels, self._forward)

    def _forward(self, input_ids: IdArray, attention_mask: IdArray) -> Logits:
        self._request.infer({"input_ids": input_ids, "attention_mask": attention_mask}, share_inputs=True)
        labels = self._request.get_tensor("label_logits").data
        stances = self._request.get_tensor("stance_logits").data
        return Logits(np.array(labels, dtype=np.float32), np.array(stances, dtype=np.float32))


def load(model: RuntimeModel, config: ScoreConfig) -> OpenvinoBackend:
    return OpenvinoBackend(model, config)
