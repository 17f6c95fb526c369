"""The shipped bundle against other ways to the same labels: same posts to train on, same validation posts for thresholds, same test posts.

    pip install setfit
    python benchmarks/peers.py --background telegram.jsonl --background kazakh.jsonl

Peers: TF-IDF and logistic regression; the frozen encoder and logistic regression; SetFit (contrastive fine-tuning of the same encoder, then
logistic regression; one iteration of pairs, which costs about as much time as our training; left out where setfit is not installed); and
zero-shot, the similarity of a post to a label's definition. Every peer gets its thresholds as ours does. Zero-shot has no stance.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from narratives import ScoreConfig, Scorer
from narratives.backends.linear import LinearModel
from narratives.encoders import bundled
from narratives.records import STANCES, Post
from narratives.taxonomy import Taxonomy
from narratives.text.normalize import normalize
from narratives.text.respell import latin_kazakh_to_cyrillic
from narratives.training.background import Background, read_background
from narratives.training.calibration import choose_thresholds
from narratives.training.corpus import NO_STANCE, Split, group_of, label_targets, read_corpus, split_corpus, stance_targets
from narratives.training.linear import fit_linear
from narratives.training.metrics import macro_f1, macro_f1_difference, stance_one_hot

Array = npt.NDArray[np.float32]
MAX_TOKENS = 256
SETFIT_ITERATIONS = 1
Found = tuple[Array, Array | None]
"""Of validation (with real posts) and then test posts: probabilities of labels, and of stances."""
Peer = Callable[[Sequence[Post], Sequence[Post], Taxonomy], Found]


def read(posts: Sequence[Post]) -> list[str]:
    return [latin_kazakh_to_cyrillic(normalize(post.text).text) for post in posts]


@torch.inference_mode()
def embed(texts: Sequence[str]) -> Array:
    """Mean-pooled states of the frozen encoder, shape (n_texts, 384)."""
    model, tokenizer = bundled.load_model()
    model.eval()
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        batch = tokenizer(
            [bundled.PREFIX + texts[i] for i in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        found[rows] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return found


def regress(x: Array, targets: npt.NDArray[Any], stances: npt.NDArray[np.int64], others: Array) -> Found:
    scale = StandardScaler().fit(x)
    x, others = scale.transform(x), scale.transform(others)
    columns = [LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000).fit(x, t).predict_proba(others)[:, 1] for t in targets.T]
    known = stances != NO_STANCE
    stance = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000).fit(x[known], stances[known]).predict_proba(others)
    return np.stack(columns, axis=1).astype(np.float32), stance


def tf_idf(train: Sequence[Post], others: Sequence[Post], taxonomy: Taxonomy) -> Found:
    logits = LinearModel(fit_linear(train, taxonomy, seed=13)).logits(read(others))
    return 1 / (1 + np.exp(-logits.labels)), logits.stances


def frozen(train: Sequence[Post], others: Sequence[Post], taxonomy: Taxonomy) -> Found:
    return regress(embed(read(train)), label_targets(train, taxonomy), stance_targets(train), embed(read(others)))


def zero_shot(train: Sequence[Post], others: Sequence[Post], taxonomy: Taxonomy) -> Found:
    definitions = [text for label in taxonomy.labels for text in label.definitions.values()]
    wanted, posts = embed(definitions), embed(read(others))
    wanted, posts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (wanted, posts))
    similarity = (posts @ wanted.T).reshape(len(posts), len(taxonomy), -1).max(axis=2)
    # Cosines of e5 lie between 0.7 and 1: spread, so that thresholds have room.
    return np.clip((similarity - 0.7) / 0.3, 0, 1).astype(np.float32), None


def setfit(train: Sequence[Post], others: Sequence[Post], taxonomy: Taxonomy) -> Found:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, models
    from setfit import SetFitModel, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = bundled.load_model()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = models.Transformer(folder, max_seq_length=MAX_TOKENS)
    body = SentenceTransformer(modules=[transformer, models.Pooling(transformer.get_word_embedding_dimension(), "mean")])
    targets = label_targets(train, taxonomy)
    classifier = SetFitModel(model_body=body, model_head=None, multi_target_strategy="one-vs-rest")
    texts = [bundled.PREFIX + text for text in read(train)]
    settings = TrainingArguments(
        batch_size=16, num_epochs=1, num_iterations=SETFIT_ITERATIONS, sampling_strategy="undersampling", report_to="none", seed=13
    )
    trainer = Trainer(
        model=classifier, args=settings, train_dataset=Dataset.from_dict({"text": texts, "label": targets.astype(int).tolist()})
    )
    trainer.train_embeddings(texts, targets.astype(int).tolist(), args=settings)
    vectors = [
        np.asarray(body.encode(t, batch_size=32, show_progress_bar=False)) for t in (texts, [bundled.PREFIX + t for t in read(others)])
    ]
    return regress(vectors[0], targets, stance_targets(train), vectors[1])


def ours(scorer: Scorer, posts: Sequence[Post]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    predictions = scorer.predict(posts)
    labels = np.array([[label in p.labels for label in scorer.labels] for p in predictions])
    return labels, np.array([int(np.argmax([p.stance_probabilities[s] for s in STANCES])) for p in predictions])


def table(scorer: Scorer, split: Split, real: Background, peers: dict[str, Peer]) -> list[str]:
    taxonomy = scorer.taxonomy
    chosen_on = [*split.validation, *real.validation]
    targets, stances = label_targets(split.test, taxonomy), stance_targets(split.test)
    groups = [group_of(p) for p in split.test]
    known = stances != NO_STANCE
    stanced, stanced_groups = stance_one_hot(stances[known]), [g for g, k in zip(groups, known, strict=True) if k]
    labels, stance = ours(scorer, split.test)
    lines = ["| way | labels, macro-F1 | ours ahead by | stance, macro-F1 | ours ahead by | minutes |", "|---|---|---|---|---|---|"]
    lines.append(
        f"| **{scorer.bundle.name}** | {macro_f1(targets, labels, groups)} | | "
        f"{macro_f1(stanced, stance_one_hot(stance[known]), stanced_groups)} | | {scorer.bundle.metrics['training_minutes']} |"
    )
    for name, peer in peers.items():
        started = time.monotonic()
        probabilities, stance_probabilities = peer([*split.train, *real.train], [*chosen_on, *split.test], taxonomy)
        thresholds = choose_thresholds(probabilities[: len(chosen_on)], label_targets(chosen_on, taxonomy))
        theirs = probabilities[len(chosen_on) :] >= thresholds
        row = f"| {name} | {macro_f1(targets, theirs, groups)} | {macro_f1_difference(targets, labels, theirs, groups)} | "
        if stance_probabilities is None:
            row += "none | | "
        else:
            guess = stance_one_hot(stance_probabilities[len(chosen_on) :].argmax(1)[known])
            mine = stance_one_hot(stance[known])
            row += f"{macro_f1(stanced, guess, stanced_groups)} | {macro_f1_difference(stanced, mine, guess, stanced_groups)} | "
        lines.append(f"{row}{(time.monotonic() - started) / 60:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--model", default=None)
    parser.add_argument("--background", action="append", default=[], help="real posts, as the bundle was trained with")
    parser.add_argument("--only", nargs="*", help="parts of names of peers")
    arguments = parser.parse_args()
    torch.manual_seed(13)
    scorer = Scorer.from_pretrained(arguments.model, config=ScoreConfig(evidence=False))
    config = scorer.bundle.train_config
    split = split_corpus(
        read_corpus(arguments.data, scorer.taxonomy), scorer.taxonomy, validation_share=config.validation_share, seed=config.seed
    )
    real = Background()
    if arguments.background:
        real = read_background(arguments.background, n_posts=config.background_posts, n_validation=config.background_validation_posts)
    peers: dict[str, Peer] = {
        "TF-IDF + logistic regression": tf_idf,
        "frozen encoder + logistic regression": frozen,
        "zero-shot, similarity to the definitions": zero_shot,
    }
    if importlib.util.find_spec("setfit") is not None:
        peers["SetFit"] = setfit
    if arguments.only:
        peers = {name: peer for name, peer in peers.items() if any(part in name for part in arguments.only)}
    print(f"{len(split.train)} + {len(real.train)} posts to train on, {len(split.test)} test posts")
    print("\n".join(table(scorer, split, real, peers)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
