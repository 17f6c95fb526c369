"""Which ways of training win, on validation posts: each way against one reference, same posts, same seeds, in one run.

So that many ways fit in an hour on two cores, only the encoder's top four layers are trained (the lower eight are run once and their
states kept); a way that wins here is then tried with all twelve. Every seed has another validation part; the test part is never read.
The figures are mean average precision of the labels and the share of right stances, with paired differences to the reference and their
95% intervals (bootstrap over groups, the seeds together).

    python benchmarks/ablations.py --data data/posts --parallel kazakh.tsv russian.tsv --out ablations.json
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from narratives import taxonomy as taxonomies
from narratives.backends.linear import LinearBackend
from narratives.config import ScoreConfig, usable_cores
from narratives.encoders import bundled
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.text.normalize import normalize
from narratives.training.augment import augment
from narratives.training.corpus import NO_STANCE, group_of, label_targets, read_corpus, split_corpus, stance_targets
from narratives.training.fit import contrastive_loss
from narratives.training.linear import fit_linear

Array = npt.NDArray[np.float32]
N_KEPT = 8
"""Lower layers that are run once."""
MAX_TOKENS = 128
BATCH = 16
N_DRAWS = 500


@dataclass(frozen=True)
class Way:
    """One way of training; the defaults are the reference's."""

    name: str
    pooling: str = "mean"
    prefix: str = bundled.PREFIX
    loss: str = "bce"
    balance: float = 0.5
    augmented: float = 0.0
    layers: int = 4
    lora: int = 0
    contrastive_epochs: int = 0
    unlabelled_epochs: int = 0
    parallel_weight: float = 0.0
    definitions: bool = False
    hierarchical: bool = False
    lexical: bool = False
    probe: bool = True
    epochs: int = 3


WAYS = (
    Way("reference: top 4 layers, mean pooling, prefix, BCE, heads from a linear probe"),
    Way("frozen encoder, logistic regression", layers=0, epochs=0),
    Way("top 2 layers", layers=2),
    Way("adapters (LoRA, rank 16, on the same 4 layers)", lora=16),
    Way("first token instead of mean pooling", pooling="first"),
    Way("no e5 prefix", prefix=""),
    Way("heads from zero", probe=False),
    Way("no balance of labels", balance=0.0),
    Way("full balance of labels", balance=1.0),
    Way("focal loss, gamma 2", loss="focal", balance=0.0),
    Way("asymmetric loss, gamma 4, margin 0.05", loss="asymmetric", balance=0.0),
    Way("supervised-contrastive warm-up, 1 epoch", contrastive_epochs=1),
    Way("contrastive pretraining on unlabelled sentences, 1 epoch", unlabelled_epochs=1),
    Way("Kazakh-Russian consistency, weight 0.3", parallel_weight=0.3),
    Way("half of the posts respelt (augment 0.5)", augmented=0.5),
    Way("conditioned on the labels' definitions", definitions=True),
    Way("hierarchical: any narrative, then which", hierarchical=True),
    Way("joined with TF-IDF and logistic regression", lexical=True),
)


class States:
    """States after the lower layers, of texts under a prefix; half precision, kept between ways."""

    def __init__(self) -> None:
        self.encoder, tokenizer = bundled.load_model()
        self.tokenizer = tokenizer.backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self._kept: dict[tuple[str, str], Tensor] = {}

    @torch.inference_mode()
    def of(self, texts: Sequence[str], prefix: str) -> list[Tensor]:
        """One tensor (n_tokens, hidden) a text."""
        missing = sorted({t for t in texts if (prefix, t) not in self._kept}, key=len)
        lower = self.encoder.encoder.layer[:N_KEPT]
        for at in range(0, len(missing), 32):
            part = missing[at : at + 32]
            ids = [e.ids for e in self.tokenizer.encode_batch_fast([prefix + t for t in part])]
            length = max(map(len, ids))
            input_ids = torch.tensor([i + [bundled.PAD_ID] * (length - len(i)) for i in ids])
            mask = torch.tensor([[1] * len(i) + [0] * (length - len(i)) for i in ids])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                states = run(lower, self.encoder.embeddings(input_ids=input_ids), mask)
            for text, one, n in zip(part, states.to(torch.bfloat16), map(len, ids), strict=True):
                self._kept[prefix, text] = one[:n].clone()
        return [self._kept[prefix, t] for t in texts]


def run(layers: Sequence[nn.Module], states: Tensor, mask: Tensor) -> Tensor:
    bias = (mask[:, None, None, :] == 1).expand(-1, 1, mask.shape[1], -1)
    for layer in layers:
        states = layer(states, bias)
    return states


def pad(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(s) for s in states])
    # Cloned: tensors made under inference_mode cannot take part in autograd.
    padded = nn.utils.rnn.pad_sequence([s.clone() for s in states], batch_first=True)
    return padded, (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()


class LoRA(nn.Module):
    """A frozen linear layer and a trained product of two thin matrices beside it (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / rank**0.5 * 0.1)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * functional.linear(functional.linear(x, self.down), self.up)


class Model(nn.Module):
    def __init__(self, states: States, way: Way, n_labels: int, definitions: Tensor) -> None:
        super().__init__()
        self.way = way
        stack = copy.deepcopy(states.encoder.encoder.layer[N_KEPT:])
        for p in stack.parameters():
            p.requires_grad_(False)
        for layer in list(stack)[len(stack) - way.layers :] if way.layers else []:
            for p in layer.parameters():
                p.requires_grad_(True)
            if way.lora:
                for parent in list(layer.modules()):
                    for name, child in list(parent.named_children()):
                        if isinstance(child, nn.Linear):
                            setattr(parent, name, LoRA(child, way.lora))
                for name, p in layer.named_parameters():
                    p.requires_grad_(name.endswith((".down", ".up")))
        self.stack = stack
        hidden = definitions.shape[1]
        self.labels, self.stance, self.any = nn.Linear(hidden, n_labels), nn.Linear(hidden, 3), nn.Linear(hidden, 1)
        for head in (self.labels, self.stance, self.any):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.project = nn.Linear(hidden, hidden, bias=False)
        nn.init.eye_(self.project.weight)
        self.register_buffer("definitions", definitions)
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("std", torch.ones(hidden))
        self.drop = nn.Dropout(0.2)

    def pool(self, states: Sequence[Tensor]) -> Tensor:
        padded, mask = pad(states)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = run(self.stack, padded, mask)
        if self.way.pooling == "first":
            return out[:, 0].float()
        return (out.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def features(self, states: Sequence[Tensor]) -> Tensor:
        return (self.pool(states) - self.mean) / self.std

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x = self.drop(self.features(states))
        labels = self.labels(x)
        if self.way.definitions:
            labels = labels + self.project(x) @ self.definitions.T / x.shape[1] ** 0.5
        return labels, self.stance(x), self.any(x)[:, 0]


def label_loss(way: Way, logits: Tensor, any_logit: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    if way.loss == "focal":
        p = torch.sigmoid(logits)
        right = p * targets + (1 - p) * (1 - targets)
        bce = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return 4 * ((1 - right) ** 2 * bce).mean()
    if way.loss == "asymmetric":  # Ridnik et al. 2021
        p = torch.sigmoid(logits)
        lowered = (p - 0.05).clamp(min=0)
        gain = targets * torch.log(p.clamp(min=1e-6)) + (1 - targets) * lowered**4 * torch.log((1 - lowered).clamp(min=1e-6))
        return -2 * gain.mean()
    if way.hierarchical:
        carries = targets.amax(1)
        first = functional.binary_cross_entropy_with_logits(any_logit, carries)
        second = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none").mean(1)
        return first + (second * carries).sum() / carries.sum().clamp(min=1)
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)


@dataclass
class Data:
    train: list[Post]
    held_out: list[Post]
    targets: Array
    stances: npt.NDArray[np.int64]
    pairs: list[tuple[str, str]] = field(default_factory=list)


def train(
    way: Way, states: States, data: Data, taxonomy: Taxonomy, seed: int, soft: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Fit one way and give the label and stance logits of the held-out posts. `soft`: a teacher's logits of the training posts."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    definitions = torch.stack([s.float().mean(0) for s in states.of([label.definition() for label in taxonomy.labels], way.prefix)])
    definitions = (definitions - definitions.mean(0)) / definitions.std(0).clamp(min=1e-3)
    model = Model(states, way, len(taxonomy), definitions)
    texts = [normalize(p.text).text for p in data.train]
    own = states.of(texts, way.prefix)
    respelt = (
        states.of([augment(t, p.language, rng) or t for t, p in zip(texts, data.train, strict=True)], way.prefix) if way.augmented else own
    )
    targets, stances = torch.from_numpy(data.targets), torch.from_numpy(data.stances)
    pairs = (
        [(a, b) for a, b in zip(*(states.of(side, way.prefix) for side in zip(*data.pairs, strict=True)), strict=True)]
        if data.pairs
        else []
    )
    order = sorted(range(len(texts)), key=lambda i: len(own[i]))
    with torch.inference_mode():
        pooled = torch.zeros(len(texts), definitions.shape[1])
        for at in range(0, len(order), 64):
            rows = order[at : at + 64]
            pooled[rows] = model.pool([own[i] for i in rows])
    model.mean.copy_(pooled.mean(0))
    model.std.copy_(pooled.std(0) + 1e-4)
    if way.probe:
        x = ((pooled - model.mean) / model.std).numpy()
        set_heads(model, x, data)

    def batches() -> list[list[int]]:
        shuffled = list(range(len(texts)))
        rng.shuffle(shuffled)
        runs = [sorted(shuffled[at : at + 16 * BATCH], key=lambda i: len(own[i])) for at in range(0, len(shuffled), 16 * BATCH)]
        found = [r[i : i + BATCH] for r in runs for i in range(0, len(r), BATCH)]
        rng.shuffle(found)
        return found

    if way.layers:
        body = [p for p in model.stack.parameters() if p.requires_grad]
        heads = [*model.labels.parameters(), *model.stance.parameters(), *model.any.parameters(), *model.project.parameters()]
        rate = 3e-4 if way.lora else 6e-5
        optimizer = torch.optim.AdamW([{"params": body, "lr": rate}, {"params": heads, "lr": 3e-4}], weight_decay=0.01)
        peaks = [g["lr"] for g in optimizer.param_groups]
        positives = targets.sum(0).clamp(min=1)
        weight = ((len(texts) - positives) / positives) ** way.balance
        average = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        # Heads wait while the features are only drawn together.
        warm_up = (["unlabelled"] * way.unlabelled_epochs) + (["contrast"] * way.contrastive_epochs)
        plan = [(kind, b) for kind in warm_up for b in batches()] + [("fit", b) for _ in range(way.epochs) for b in batches()]
        model.train()
        for module in model.stack.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.1 if way.unlabelled_epochs else 0.0
        for number, (kind, rows) in enumerate(plan):
            if kind == "fit" and number and plan[number - 1][0] != "fit":
                for module in model.stack.modules():
                    if isinstance(module, nn.Dropout):
                        module.p = 0.0
                refit(model, own, order, data)
            scale = min(1.0, (number + 1) / (0.1 * len(plan))) * max(0.05, 1 - number / len(plan))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * scale
            chosen = [(respelt if rng.random() < way.augmented else own)[i] for i in rows]
            if kind == "contrast":
                loss = contrastive_loss(model.features(chosen), targets[rows])
            elif kind == "unlabelled":
                chosen = [one for pair in rng.sample(pairs, BATCH // 2) for one in pair]
                a, b = (functional.normalize(model.features(chosen), dim=1) for _ in range(2))  # SimCSE: two dropouts
                loss = functional.cross_entropy(a @ b.T / 0.05, torch.arange(len(chosen)))
            else:
                logits, stance_logits, any_logit = model(chosen)
                loss = label_loss(way, logits, any_logit, targets[rows], weight)
                if soft is not None:
                    teacher, teacher_stance = (torch.from_numpy(s[rows]) for s in soft)
                    loss = 0.3 * loss + functional.binary_cross_entropy_with_logits(logits, torch.sigmoid(teacher))
                    has = targets[rows].amax(1) > 0
                    if bool(has.any()):
                        loss = loss + 0.5 * functional.cross_entropy(stance_logits[has], torch.softmax(teacher_stance[has], 1))
                elif bool((stances[rows] != NO_STANCE).any()):
                    loss = loss + 0.5 * functional.cross_entropy(stance_logits, stances[rows], ignore_index=NO_STANCE)
                if way.parallel_weight:
                    a, b = zip(*rng.sample(pairs, 4), strict=True)
                    loss = loss + way.parallel_weight * functional.mse_loss(model.features(a), model.features(b))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            decay = min(0.99, (1 + number) / (10 + number))
            with torch.no_grad():
                for n, p in model.named_parameters():
                    if n in average:
                        average[n].lerp_(p, 1 - decay)
        with torch.no_grad():
            for n, p in model.named_parameters():
                if n in average:
                    p.copy_(average[n])
    labels, stance = judge(model, states, data.held_out, way)
    if way.lexical:
        weights = fit_linear(data.train, taxonomy, seed=seed)
        found = LinearBackend(_Weights(weights), ScoreConfig()).logits([normalize(p.text).text for p in data.held_out])
        labels, stance = labels + found.labels, stance + found.stances
    return labels, stance


class _Weights:
    """What the linear backend asks a model for."""

    def __init__(self, weights: object) -> None:
        self.linear_weights: Callable[[], object] = lambda: weights


@torch.inference_mode()
def judge(model: Model, states: States, posts: Sequence[Post], way: Way) -> tuple[Array, Array]:
    model.eval()
    own = states.of([normalize(p.text).text for p in posts], way.prefix)
    labels, stances = np.zeros((len(own), model.labels.out_features), np.float32), np.zeros((len(own), 3), np.float32)
    order = sorted(range(len(own)), key=lambda i: len(own[i]))
    for at in range(0, len(order), 64):
        rows = order[at : at + 64]
        a, b, c = model([own[i] for i in rows])
        if way.hierarchical:
            p = torch.sigmoid(c)[:, None] * torch.sigmoid(a)
            a = torch.logit(p.clamp(1e-6, 1 - 1e-6))
        labels[rows], stances[rows] = a.numpy(), b.numpy()
    return labels, stances


def set_heads(model: Model, x: Array, data: Data) -> None:
    with torch.no_grad():
        for i in range(data.targets.shape[1]):
            probe = LogisticRegression(C=0.1, max_iter=2000).fit(x, data.targets[:, i])
            model.labels.weight[i], model.labels.bias[i] = torch.from_numpy(probe.coef_[0]), float(probe.intercept_[0])
        known = data.stances != NO_STANCE
        probe = LogisticRegression(C=0.1, max_iter=2000).fit(x[known], data.stances[known])
        model.stance.weight.copy_(torch.from_numpy(probe.coef_))
        model.stance.bias.copy_(torch.from_numpy(probe.intercept_))
        probe = LogisticRegression(C=0.1, max_iter=2000).fit(x, data.targets.max(1))
        model.any.weight.copy_(torch.from_numpy(probe.coef_))
        model.any.bias.copy_(torch.from_numpy(probe.intercept_))


@torch.inference_mode()
def refit(model: Model, own: Sequence[Tensor], order: Sequence[int], data: Data) -> None:
    """Standardise and probe again, after a warm-up that moved the features."""
    model.eval()
    pooled = torch.zeros(len(own), model.mean.shape[0])
    for at in range(0, len(order), 64):
        rows = order[at : at + 64]
        pooled[rows] = model.pool([own[i] for i in rows])
    model.mean.copy_(pooled.mean(0))
    model.std.copy_(pooled.std(0) + 1e-4)
    set_heads(model, ((pooled - model.mean) / model.std).numpy(), data)
    model.train()


def average_precisions(targets: Array, logits: Array, weights: Array) -> float:
    """Mean over labels of the average precision, posts counted as often as a bootstrap drew them."""
    values = []
    for i in range(targets.shape[1]):
        order = np.argsort(-logits[:, i], kind="stable")
        w, hit = weights[order], targets[order, i] * weights[order]
        if hit.sum():
            precision = hit.cumsum() / np.maximum(w.cumsum(), 1e-9)
            values.append(float((precision * hit).sum() / hit.sum()))
    return float(np.mean(values))


def figures(
    runs: dict[str, list[tuple[Array, Array]]], parts: list[Data], held: list[tuple[Array, npt.NDArray[np.int64]]]
) -> list[dict[str, object]]:
    """Rows of the table: each way's figures, and its differences to the reference on the same posts."""
    names = list(runs)
    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    draws = []
    for data in parts:
        groups, of_post = np.unique([group_of(p) for p in data.held_out], return_inverse=True)
        counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=N_DRAWS)
        draws.append(counts[:, of_post].astype(np.float32))

    def both(name: str, weights: list[Array], n: int) -> tuple[float, float]:
        precision, accuracy = [], []
        for (labels, stances), (targets, truth), w in zip(runs[name][:n], held[:n], weights[:n], strict=True):
            precision.append(average_precisions(targets, labels, w))
            known = truth != NO_STANCE
            accuracy.append(float(((stances[known].argmax(1) == truth[known]) * w[known]).sum() / max(w[known].sum(), 1e-9)))
        return float(np.mean(precision)), float(np.mean(accuracy))

    for name in names:
        n = len(runs[name])
        ones = [np.ones(len(d.held_out), np.float32) for d in parts]
        here, there = np.array(both(name, ones, n)), np.array(both(names[0], ones, n))
        spread = np.array(
            [np.subtract(both(name, [d[i] for d in draws], n), both(names[0], [d[i] for d in draws], n)) for i in range(N_DRAWS)]
        )
        low, high = np.percentile(spread, [2.5, 97.5], axis=0)
        rows.append({"way": name, "n_seeds": n, "average_precision": here[0], "stance": here[1]})
        for i, what in enumerate(("average_precision", "stance")):
            rows[-1][f"{what}_difference"] = [float(here[i] - there[i]), float(low[i]), float(high[i])]
    return rows


def show(rows: Sequence[dict[str, object]]) -> str:
    lines = ["| way | seeds | average precision of labels | difference | right stances | difference |", "|---|---|---|---|---|---|"]
    for r in rows:
        a, b = ("{:+.3f} [{:+.3f}, {:+.3f}]".format(*r[f"{w}_difference"]) for w in ("average_precision", "stance"))  # type: ignore[misc]
        lines.append(f"| {r['way']} | {r['n_seeds']} | {r['average_precision']:.3f} | {a} | {r['stance']:.3f} | {b} |")
    return "\n".join(lines)


def read_pairs(kazakh: Path, russian: Path) -> list[tuple[str, str]]:
    """Sentences of two tables (index_id, category, text) that are translations of each other."""
    sides = []
    for path in (kazakh, russian):
        with path.open(encoding="utf-8", newline="") as stream:
            sides.append({row["index_id"]: row["text"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)})
    return [(text, sides[1][key]) for key, text in sides[0].items() if key in sides[1]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--parallel", type=Path, nargs=2, metavar=("KAZAKH", "RUSSIAN"), help="tables of translated sentences (SIB-200)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="parts of names of ways; the reference always runs")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(usable_cores())
    taxonomy = taxonomies.load("kazakhstan")
    posts = read_corpus(args.data, taxonomy)
    pairs = read_pairs(*args.parallel) if args.parallel else []
    ways = [w for i, w in enumerate(WAYS) if (not args.only or i == 0 or any(o in w.name for o in args.only))]
    ways = [w for w in ways if pairs or not (w.parallel_weight or w.unlabelled_epochs)]
    states = States()
    runs: dict[str, list[tuple[Array, Array]]] = {w.name: [] for w in ways}
    parts: list[Data] = []
    held: list[tuple[Array, npt.NDArray[np.int64]]] = []
    for seed in range(1, args.seeds + 1):
        split = split_corpus(posts, taxonomy, validation_share=0.25, seed=seed)
        data = Data(split.train, split.validation, label_targets(split.train, taxonomy).astype(np.float32), stance_targets(split.train))
        parts.append(data)
        held.append((label_targets(split.validation, taxonomy).astype(np.float32), stance_targets(split.validation)))
        for way in ways:
            started = time.monotonic()
            needs_pairs = bool(way.parallel_weight or way.unlabelled_epochs)
            runs[way.name].append(train(way, states, replace(data, pairs=pairs if needs_pairs else []), taxonomy, seed))
            precision = average_precisions(held[-1][0], runs[way.name][-1][0], np.ones(len(data.held_out), np.float32))
            print(f"seed {seed} {precision:.3f} {time.monotonic() - started:.0f} s  {way.name}", file=sys.stderr, flush=True)
        if not args.only or any(o in "ensemble and distillation" for o in args.only):
            for name, one in distil(ways[0], states, data, taxonomy, seed).items():
                runs.setdefault(name, []).append(one)
        rows = figures(runs, parts, held)
        args.out.write_text(json.dumps({"n_posts": len(posts), "rows": rows}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(show(rows))
    return 0


def distil(reference: Way, states: States, data: Data, taxonomy: Taxonomy, seed: int) -> dict[str, tuple[Array, Array]]:
    """Three models of other seeds: their mean, and one model taught by it. Teachers see each training post only from outside its fold."""
    seeds = [seed * 100 + i for i in range(3)]
    mean = [np.mean(x, axis=0) for x in zip(*(train(reference, states, data, taxonomy, s) for s in seeds), strict=True)]
    folds = np.array([hash_of(group_of(p)) % 2 for p in data.train])
    soft = np.zeros_like(data.targets), np.zeros((len(data.train), 3), np.float32)
    for fold in (0, 1):
        rest, these = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        half = Data([data.train[i] for i in rest], [data.train[i] for i in these], data.targets[rest], data.stances[rest])
        soft[0][these], soft[1][these] = train(reference, states, half, taxonomy, seed)
    taught = train(reference, states, data, taxonomy, seed, soft=soft)
    return {"ensemble of 3 seeds": (mean[0], mean[1]), "one model taught by held-out folds (distillation)": taught}


def hash_of(group: str) -> int:
    import zlib

    return zlib.crc32(group.encode("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
