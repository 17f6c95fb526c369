"""What a training must keep to be resumed: weights, optimiser, history, and the moving average of the weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from narratives.backends.torch import NarrativeModel
from narratives.config import TrainConfig
from narratives.records import Post
from narratives.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass gave, on validation posts: of the labels, macro-F1 (at the thresholds best there) and mean average
    precision, which needs no threshold; of posts with a label, the share with the right stance."""

    number: int
    loss: float
    macro_f1: float
    average_precision: float
    stance_accuracy: float


def fingerprint(config: TrainConfig, train: Sequence[Post], validation: Sequence[Post], taxonomy: Taxonomy) -> str:
    """Of all that decides what a training gives: a checkpoint of another one is of no use."""
    parts = [json.dumps(config.to_dict(), sort_keys=True), taxonomy.digest]
    parts += [f"{post.text}|{post.labels}|{post.stance}" for posts in (train, validation) for post in posts]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Checkpoint:
    """A folder with the state after the last whole epoch, and the weights of the best one."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.average: dict[str, Tensor] = {}
        self.n_steps = 0

    def restore(self, model: NarrativeModel, optimizer: torch.optim.AdamW) -> tuple[list[Epoch], int | None]:
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return [], None
        if state.get("fingerprint") != self.fingerprint:
            shutil.rmtree(self.folder)  # other data or settings: that run's state is of no use to this one
            return [], None
        tensors = load_file(self.folder / state["last"])
        trained = self.trained(model)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[f"model.{name}"])
                self.average[name] = tensors[f"moving.{name}"].to(parameter.device)
        self.n_steps = int(state["n_steps"])
        for name, parameter in trained.items():
            if f"average.{name}" in tensors:
                optimizer.state[parameter] = {
                    # Each parameter's own: the stance head rests in batches without a stance.
                    "step": tensors[f"step.{name}"],
                    "exp_avg": tensors[f"average.{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
                }
        return [Epoch(**entry) for entry in state["history"]], state["best"]

    def save(
        self,
        model: NarrativeModel,
        optimizer: torch.optim.AdamW,
        n_steps: int,
        history: Sequence[Epoch],
        best: int | None,
        average: Mapping[str, Tensor],
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trained(model).items():
            tensors[f"model.{name}"] = parameter.detach().contiguous().cpu()
            tensors[f"moving.{name}"] = average[name].contiguous().cpu()
            if parameter in optimizer.state:
                tensors[f"step.{name}"] = optimizer.state[parameter]["step"].clone().cpu()
                tensors[f"average.{name}"] = optimizer.state[parameter]["exp_avg"].contiguous().cpu()
                tensors[f"square.{name}"] = optimizer.state[parameter]["exp_avg_sq"].contiguous().cpu()
        last = f"epoch-{len(history):03}.safetensors"
        save_file(tensors, self.folder / last)
        if best == len(history) - 1:
            weights = {name: value.contiguous().cpu() for name, value in average.items()}
            save_file(weights, self.folder / "best.tmp")
            os.replace(self.folder / "best.tmp", self.folder / f"best-{len(history):03}.safetensors")
        state = {
            "fingerprint": self.fingerprint,
            "last": last,
            "n_steps": n_steps,
            "best": best,
            "history": [{k: getattr(e, k) for k in Epoch.__slots__} for e in history],
        }
        (self.folder / "state.tmp").write_text(json.dumps(state), encoding="utf-8")
        os.replace(self.folder / "state.tmp", self.folder / "state.json")
        kept = {last, f"best-{(best or 0) + 1:03}.safetensors"}
        for old in self.folder.glob("*.safetensors"):
            if old.name not in kept:
                old.unlink()

    def load_best(self, model: NarrativeModel) -> None:
        state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        weights = load_file(self.folder / f"best-{state['best'] + 1:03}.safetensors")
        with torch.no_grad():
            for name, parameter in self.trained(model).items():
                parameter.copy_(weights[name])

    @staticmethod
    def trained(model: NarrativeModel) -> dict[str, Tensor]:
        trained: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        return trained | {"pool_mean": model.pool_mean, "pool_std": model.pool_std}


class MovingAverage:
    """A moving average of the trained weights, short at first: after n steps it spans at most n / 10."""

    def __init__(self, model: NarrativeModel, decay: float, state: Checkpoint) -> None:
        self._trained = Checkpoint.trained(model)
        self._decay = decay
        self._n_updates = 0
        self.values = state.average or {name: value.detach().clone() for name, value in self._trained.items()}
        self._n_updates = state.n_steps

    @torch.no_grad()
    def update(self) -> None:
        self._n_updates += 1
        decay = min(self._decay, (1 + self._n_updates) / (10 + self._n_updates)) if self._decay else 0.0
        for name, value in self._trained.items():
            self.values[name].lerp_(value.detach(), 1.0 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights, for as long as this lasts."""
        kept = {name: value.detach().clone() for name, value in self._trained.items()}
        with torch.no_grad():
            for name, value in self._trained.items():
                value.copy_(self.values[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self._trained.items():
                    value.copy_(kept[name])
