"""onnxruntime in float32: the portable backend, exact to 1e-5 against torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from narratives.backends import Logits, RuntimeModel
from narratives.backends.batching import IdArray, TextEncoder
from narratives.config import ScoreConfig, usable_cores
from narratives.errors import ConfigError


class OnnxBackend:
    name = "onnx"
    precision = "float32"

    def __init__(self, model: RuntimeModel, config: ScoreConfig) -> None:
        if model.graph is None or model.tokenizer is None:
            raise ConfigError("this bundle has no graph for the onnx backend; use backend 'linear' or 'auto'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads or usable_cores()
        options.log_severity_level = 3
        # 8-bit weights are widened once at load. Left to itself it would round activations too: a third faster, logits off by 0.5.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(str(model.graph()), options, providers=["CPUExecutionProvider"])
        self._n_labels = len(model.labels)
        self._encoder = TextEncoder(
            model.tokenizer(), prefix=model.prefix, max_length=model.max_length, pad_id=model.pad_id, batch_tokens=config.batch_tokens
        )
        self.max_tokens = self._encoder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._encoder.count_tokens(texts)

    def logits(self, texts: Sequence[str]) -> Logits:
        return self._encoder.run(texts, self._n_labels, self._forward)

    def _forward(self, input_ids: IdArray, attention_mask: IdArray) -> Logits:
        labels, stances = self._session.run(["label_logits", "stance_logits"], {"input_ids": input_ids, "attention_mask": attention_mask})
        return Logits(np.asarray(labels, dtype=np.float32), np.asarray(stances, dtype=np.float32))


def load(model: RuntimeModel, config: ScoreConfig) -> OnnxBackend:
    return OnnxBackend(model, config)
