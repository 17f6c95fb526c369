"""Fine-tuning: an encoder and two heads, fitted to training posts, stopped by validation posts.

What lives here is the loop alone; what it keeps to be resumed is in `checkpoint.py`. Reading, splitting, calibrating and saving are in
`train.py`; the model's own layers are in `backends/torch.py`, because scoring with torch needs them too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import Tensor, nn

from narratives.backends.torch import NarrativeModel
from narratives.config import TrainConfig, usable_cores
from narratives.records import STANCES, Post
from narratives.taxonomy import Taxonomy
from narratives.text.normalize import normalize
from narratives.text.respell import latin_kazakh_to_cyrillic
from narratives.training.augment import augment, change_stance
from narratives.training.calibration import choose_thresholds
from narratives.training.checkpoint import Checkpoint, Epoch, MovingAverage, fingerprint
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray, label_targets, stance_targets
from narratives.training.metrics import average_precision, confusion, f1_score

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every step: `step` of `n_steps` in all epochs; `epoch` once an epoch ended."""

    step: int
    n_steps: int
    epoch: Epoch | None = None


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class _Texts:
    """Posts as the loop needs them: clean text, language, targets."""

    texts: list[str]
    languages: list[str | None]
    labels: BoolArray
    stances: IntArray


def fit(
    model: NarrativeModel,
    tokenizer: Tokenizer,
    *,
    prefix: str,
    pad_id: int,
    train: Sequence[Post],
    validation: Sequence[Post],
    taxonomy: Taxonomy,
    config: TrainConfig,
    checkpoint: Path,
    on_progress: OnProgress = lambda _: None,
) -> list[Epoch]:
    """Fit the model in place and leave it with the weights of its best epoch.

    After each epoch all that is needed to go on is written to `checkpoint` (safetensors and JSON, no pickle); a call with the
    same settings goes on from there, and gives what an undisturbed run would have given on the same machine.

    Returns:
        One entry an epoch.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(usable_cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and _computes_bfloat16(device))
    model.to(device)
    _choose_trained(model, config.train_layers)
    data, held_out = _prepare(train, taxonomy), _prepare(validation, taxonomy)
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.max_length)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast([prefix + latin_kazakh_to_cyrillic(text) for text in texts])]

    positives = data.labels.sum(axis=0)
    balance = ((len(data.texts) - positives) / np.maximum(positives, 1)) ** config.positive_weight_power
    label_loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(balance, dtype=torch.float32, device=device))
    stance_counts = np.bincount(data.stances[data.stances != NO_STANCE], minlength=3).astype(np.float64)
    stance_balance = np.sqrt(stance_counts.sum() / 3 / np.maximum(stance_counts, 1))
    stance_loss = nn.CrossEntropyLoss(ignore_index=NO_STANCE, weight=torch.tensor(stance_balance, dtype=torch.float32, device=device))

    optimizer = _optimizer(model, config)
    steps_per_epoch = math.ceil(len(data.texts) / config.batch_posts)
    n_steps = steps_per_epoch * config.epochs

    state = Checkpoint(checkpoint, fingerprint(config, train, validation, taxonomy))
    history, best = state.restore(model, optimizer)
    if not history:
        own_ids = encode(data.texts)
        _probe(model, own_ids, data, config, pad_id, device, use_bfloat16)
        if config.contrastive_epochs:
            _warm_up(model, own_ids, data, config, pad_id, device, use_bfloat16)
            _probe(model, own_ids, data, config, pad_id, device, use_bfloat16)
    average = MovingAverage(model, config.average_decay, state)
    held_out_ids = encode(held_out.texts)
    for epoch in range(len(history) + 1, config.epochs + 1):
        if _is_over(history, config.patience):
            break
        # Each epoch has its own generators, so that a resumed run sees what an undisturbed one would.
        rng = random.Random(config.seed * 1000 + epoch)
        torch.manual_seed(config.seed * 1000 + epoch)
        texts, stances_seen = _other_versions(data, config.augment, rng)
        ids = encode(texts)
        model.train()
        _no_dropout_inside(model)
        total = 0.0
        for number, rows in enumerate(_batches(ids, config.batch_posts, rng), start=1):
            input_ids, attention_mask = _pad([ids[i] for i in rows], pad_id, device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
                label_logits, stance_logits = model(input_ids, attention_mask)
            targets = torch.from_numpy(data.labels[rows].astype(np.float32)).to(device)
            stances = torch.from_numpy(stances_seen[rows]).to(device)
            loss = label_loss(label_logits.float(), targets)
            if bool((stances != NO_STANCE).any()):
                loss = loss + config.stance_weight * stance_loss(stance_logits.float(), stances)
            step = (epoch - 1) * steps_per_epoch + number
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(step - 1, n_steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            average.update()
            total += float(loss.detach())
            on_progress(Progress(step, n_steps))
        with average.in_place():
            labels, stance_logits_ = predict(model, held_out_ids, pad_id, device, use_bfloat16)
        entry = Epoch(epoch, total / steps_per_epoch, *_judge(labels, stance_logits_, held_out))
        history.append(entry)
        if best is None or _merit(entry) > _merit(history[best]):
            best = len(history) - 1
        state.save(model, optimizer, epoch * steps_per_epoch, history, best, average.values)
        on_progress(Progress(epoch * steps_per_epoch, n_steps, entry))
    state.load_best(model)
    model.fold()
    model.to("cpu").eval()
    return history


def _other_versions(data: _Texts, share: float, rng: random.Random) -> tuple[list[str], IntArray]:
    """Training texts for one epoch with their stances: `share` of them respelt, a fifth of that of the endorsements answered or quoted."""
    texts, stances = list(data.texts), data.stances.copy()
    endorses = STANCES.index("endorses")
    for i, language in enumerate(data.languages):
        if stances[i] == endorses and rng.random() < share / 5:
            texts[i], stance = change_stance(texts[i], language, rng)
            stances[i] = STANCES.index(stance)
        if rng.random() < share:
            texts[i] = augment(texts[i], language, rng)
    return texts, stances


def _probe(
    model: NarrativeModel,
    ids: Sequence[list[int]],
    data: _Texts,
    config: TrainConfig,
    pad_id: int,
    device: torch.device,
    use_bfloat16: bool,
) -> None:
    """Start the heads from logistic regressions over the frozen encoder (linear probing, then fine-tuning: Kumar et al. 2022).

    Heads that start from noise pull the encoder's features apart before they have learnt anything themselves.
    """
    pooled = np.zeros((len(ids), model.labels.in_features), dtype=np.float32)
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
        for rows in _sorted_batches(ids):
            input_ids, attention_mask = _pad([ids[i] for i in rows], pad_id, device)
            pooled[rows] = model.pool(input_ids, attention_mask).cpu().numpy()
    mean, std = pooled.mean(axis=0), pooled.std(axis=0) + 1e-4
    features = (pooled - mean) / std
    model.pool_mean.copy_(torch.from_numpy(mean))
    model.pool_std.copy_(torch.from_numpy(std))
    with torch.no_grad():
        for i in range(data.labels.shape[1]):
            if data.labels[:, i].any() and not data.labels[:, i].all():
                probe = LogisticRegression(C=config.probe_c, max_iter=2000, random_state=config.seed).fit(features, data.labels[:, i])
                model.labels.weight[i] = torch.from_numpy(probe.coef_[0]).to(model.labels.weight)
                model.labels.bias[i] = float(probe.intercept_[0])
        known = data.stances != NO_STANCE
        if len(set(data.stances[known].tolist())) == model.stance.out_features:
            probe = LogisticRegression(C=config.probe_c, max_iter=2000, random_state=config.seed).fit(features[known], data.stances[known])
            model.stance.weight.copy_(torch.from_numpy(probe.coef_))
            model.stance.bias.copy_(torch.from_numpy(probe.intercept_))


def _warm_up(
    model: NarrativeModel,
    ids: Sequence[list[int]],
    data: _Texts,
    config: TrainConfig,
    pad_id: int,
    device: torch.device,
    use_bfloat16: bool,
) -> None:
    """Move the encoder so that posts with the same labels lie close, before any head is trained on them.

    It is not checkpointed: a training killed here starts anew, and gives the same.
    """
    optimizer = _optimizer(model, config)
    n_steps = math.ceil(len(ids) / config.batch_posts) * config.contrastive_epochs
    model.train()
    _no_dropout_inside(model)
    step = 0
    for epoch in range(config.contrastive_epochs):
        for rows in _batches(ids, config.batch_posts, random.Random(config.seed * 1000 - 1 - epoch)):
            input_ids, attention_mask = _pad([ids[i] for i in rows], pad_id, device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
                features = (model.pool(input_ids, attention_mask) - model.pool_mean) / model.pool_std
            loss = contrastive_loss(features, torch.from_numpy(data.labels[rows].astype(np.float32)).to(device))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(step, n_steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            step += 1


def contrastive_loss(features: Tensor, targets: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020) for several labels at once.

    Posts attract each other by the Jaccard similarity of their label sets; posts without a label are alike among themselves.

    Args:
        features: shape (n, hidden), float32.
        targets: 0 or 1, shape (n, n_labels).
    """
    unit = nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(unit), device=unit.device)
    similarity = unit @ unit.T / temperature - 1e9 * itself
    kinds = torch.cat([targets, 1 - targets.amax(1, keepdim=True)], 1)
    shared = kinds @ kinds.T
    near = shared / (kinds.sum(1)[:, None] + kinds.sum(1)[None] - shared) * (1 - itself)
    return -(near * nn.functional.log_softmax(similarity, 1)).sum(1).div(near.sum(1).clamp(min=1e-6)).mean()


def _sorted_batches(ids: Sequence[list[int]]) -> list[list[int]]:
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    return [order[at : at + 16] for at in range(0, len(order), 16)]


@torch.inference_mode()
def predict(
    model: NarrativeModel, ids: Sequence[list[int]], pad_id: int, device: torch.device, use_bfloat16: bool
) -> tuple[FloatArray, FloatArray]:
    """Label logits and stance logits of tokenised texts, in their order."""
    model.eval()
    labels = np.zeros((len(ids), model.labels.out_features), dtype=np.float32)
    stances = np.zeros((len(ids), model.stance.out_features), dtype=np.float32)
    for rows in _sorted_batches(ids):
        input_ids, attention_mask = _pad([ids[i] for i in rows], pad_id, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
            a, b = model(input_ids, attention_mask)
        labels[rows], stances[rows] = a.float().cpu().numpy(), b.float().cpu().numpy()
    return labels, stances


def encoder_layers(model: NarrativeModel) -> list[nn.Module]:
    """The encoder's layers from bottom to top; one list for BERT, XLM-R, DeBERTa and their kin."""
    stack = getattr(getattr(model.encoder, "encoder", None), "layer", None)
    return list(stack) if stack is not None else []


def _choose_trained(model: NarrativeModel, train_layers: int) -> None:
    """Freeze embeddings and all but the top layers. An encoder of unknown build is trained whole."""
    layers = encoder_layers(model)
    if layers:
        for parameter in model.encoder.parameters():
            parameter.requires_grad_(False)
        for layer in layers[max(0, len(layers) - train_layers) :]:
            layer.requires_grad_(True)


def _no_dropout_inside(model: NarrativeModel) -> None:
    for module in model.encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout_prob",):
            if hasattr(module, name):
                setattr(module, name, 0.0)


def _optimizer(model: NarrativeModel, config: TrainConfig) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []

    def add(parameters: list[tuple[str, nn.Parameter]], rate: float) -> None:
        for decays in (True, False):
            chosen = [p for name, p in parameters if p.requires_grad and (p.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": config.weight_decay if decays else 0.0})

    layers = encoder_layers(model)
    for depth, layer in enumerate(reversed(layers)):
        add(list(layer.named_parameters()), config.learning_rate * config.layer_decay**depth)
    if not layers:
        add(list(model.encoder.named_parameters()), config.learning_rate)
    add([*model.labels.named_parameters(), *model.stance.named_parameters()], config.head_learning_rate)
    # Fused: five times faster on a CPU, where it otherwise takes a twentieth of a step.
    return torch.optim.AdamW(groups, fused=True)


def _rate(step: int, n_steps: int) -> float:
    """Linear warm-up over the first tenth, then linear decay to a twentieth."""
    warm_up = max(1, n_steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.05, (n_steps - step) / max(1, n_steps - warm_up))


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def _prepare(posts: Sequence[Post], taxonomy: Taxonomy) -> _Texts:
    return _Texts(
        [normalize(post.text).text for post in posts],
        [post.language for post in posts],
        label_targets(posts, taxonomy),
        stance_targets(posts),
    )


def _batches(ids: Sequence[list[int]], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Shuffled, then sorted by length inside runs of 16 batches: little padding, and still another order each epoch."""
    order = list(range(len(ids)))
    rng.shuffle(order)
    batches = []
    for at in range(0, len(order), 16 * size):
        run = sorted(order[at : at + 16 * size], key=lambda i: len(ids[i]))
        batches += [run[i : i + size] for i in range(0, len(run), size)]
    rng.shuffle(batches)
    yield from batches


def _pad(ids: Sequence[list[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(map(len, ids))
    input_ids = torch.full((len(ids), length), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(ids), length), dtype=torch.long)
    for row, one in enumerate(ids):
        input_ids[row, : len(one)] = torch.tensor(one, dtype=torch.long)
        attention_mask[row, : len(one)] = 1
    return input_ids.to(device), attention_mask.to(device)


def _judge(label_logits: FloatArray, stance_logits: FloatArray, posts: _Texts) -> tuple[float, float, float]:
    # At the thresholds that would be chosen: with few positives a fresh model says less than 0.5 for everything at first.
    probabilities = (1 / (1 + np.exp(-label_logits.astype(np.float64)))).astype(np.float32)
    predicted = probabilities >= choose_thresholds(probabilities, posts.labels)
    scores = f1_score(*confusion(posts.labels, predicted).sum(axis=1).astype(np.float64))
    known = posts.stances != NO_STANCE
    accuracy = float((stance_logits[known].argmax(1) == posts.stances[known]).mean()) if known.any() else 0.0
    precisions = [
        average_precision(posts.labels[:, i], probabilities[:, i]) for i in range(posts.labels.shape[1]) if posts.labels[:, i].any()
    ]
    return (
        float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0,
        float(np.mean(precisions)) if precisions else 0.0,
        accuracy,
    )


def _merit(epoch: Epoch) -> float:
    # Macro-F1 moves in steps of a post where a label has few; average precision, beside it, sees the order of all posts.
    return 0.5 * (epoch.macro_f1 + epoch.average_precision) + 0.2 * epoch.stance_accuracy


def _is_over(history: Sequence[Epoch], patience: int) -> bool:
    if not history:
        return False
    best = max(range(len(history)), key=lambda i: _merit(history[i]))
    return len(history) - 1 - best >= patience
