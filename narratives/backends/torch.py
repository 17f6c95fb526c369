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

    While it is trained the pooled vector is standardised with `pool_mean` and `pool_std` (shape (hidden,)), because encoders
    made for cosine similarity have a large common component and little spread; `folded_heads` gives heads that need neither.
    """

    pool_mean: Tensor
    pool_std: Tensor

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
        self.register_buffer("pool_mean", torch.zeros(hidden), persistent=False)
        self.register_buffer("pool_std", torch.ones(hidden), persistent=False)

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the last layer's states over real tokens, shape (n, hidden), float32."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled: Tensor = (states * mask).sum(1).float() / attention_mask.sum(1, keepdim=True).clamp(min=1).float()
        return pooled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Both inputs (n, length) int64; gives label logits (n, n_labels) and stance logits (n, n_stances)."""
        pooled = self.dropout((self.pool(input_ids, attention_mask) - self.pool_mean) / self.pool_std)
        return self.labels(pooled), self.stance(pooled)

    def folded_heads(self) -> dict[str, Tensor]:
        """Weights and biases of both heads for the pooled vector as it is, standardisation folded in."""
        folded = {}
        for name, head in (("labels", self.labels), ("stance", self.stance)):
            weight = head.weight.detach() / self.pool_std
            folded[f"{name}.weight"] = weight
            folded[f"{name}.bias"] = head.bias.detach() - weight @ self.pool_mean
        return folded

    def fold(self) -> None:
        """Make `folded_heads` the heads, so that pooled vectors are used as they are."""
        folded = self.folded_heads()
        with torch.no_grad():
            for name, head in (("labels", self.labels), ("stance", self.stance)):
                head.weight.copy_(folded[f"{name}.weight"])
                head.bias.copy_(folded[f"{name}.bias"])
            self.pool_mean.zero_()
            self.pool_std.fill_(1.0)


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
