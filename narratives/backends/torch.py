"""torch: the model as it is trained, and the reference every other backend is compared with. Float32; cuda where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from narratives.backends import Logits, RuntimeModel
from narratives.backends.batching import IdArray, TextEncoder
from narratives.config import ScoreConfig, usable_cores
from narratives.errors import ConfigError, MissingDependency

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingDependency("torch", "train") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NarrativeModel(nn.Module):
    """An encoder, mean pooling over real tokens, and two linear heads.

    Heads start from zero, so that an untrained model says 0.5 for everything and the first steps move only the heads.
    """

    def __init__(self, encoder: PreTrainedModel, *, n_labels: int, n_stances: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = int(encoder.config.hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.labels = nn.Linear(hidden, n_labels)
        self.stance = nn.Linear(hidden, n_stances)
        for head in (self.labels, self.stance):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Both inputs (n, length) int64; gives label logits (n, n_labels) and stance logits (n, n_stances)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1).float() / attention_mask.sum(1, keepdim=True).clamp(min=1).float()
        pooled = self.dropout(pooled)
        return self.labels(pooled), self.stance(pooled)


class TorchBackend:
    name = "torch"
    precision = "float32"

    def __init__(self, model: RuntimeModel, config: ScoreConfig) -> None:
        if model.torch_module is None or model.tokenizer is None:
            raise ConfigError("this bundle has no torch model; use backend 'linear' or 'auto'")
        torch.set_num_threads(config.threads or usable_cores())
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._module = cast(NarrativeModel, model.torch_module()).to(self._device).eval()
        self._n_labels = len(model.labels)
        self._encoder = TextEncoder(
            model.tokenizer(), prefix=model.prefix, max_length=model.max_length, pad_id=model.pad_id, batch_tokens=config.batch_tokens
        )
        self.max_tokens = self._encoder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._encoder.count_tokens(texts)

    def logits(self, texts: Sequence[str]) -> Logits:
        return self._encoder.run(texts, self._n_labels, self._forward)

    @torch.inference_mode()
    def _forward(self, input_ids: IdArray, attention_mask: IdArray) -> Logits:
        labels, stances = self._module(torch.from_numpy(input_ids).to(self._device), torch.from_numpy(attention_mask).to(self._device))
        return Logits(labels.float().cpu().numpy().astype(np.float32), stances.float().cpu().numpy().astype(np.float32))


def load(model: RuntimeModel, config: ScoreConfig) -> TorchBackend:
    return TorchBackend(model, config)
