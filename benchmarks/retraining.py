"""New labels on data nobody here wrote: our training against its peers, with the same posts, splits and seeds.

    pip install 'narratives[train]' setfit model2vec
    python benchmarks/retraining.py --data ../shared/data --keep out/retraining

Rows: ten manipulation techniques in Russian Telegram posts (UNLP 2025, several to a post; test is the fifth whose hash of the id is 0
modulo 5), and seven topics in Kazakh and Russian sentences (SIB-200, one each; train to dev) with 8, 16, 32, 64 or all posts a label, also
trained in Russian and tested in Kazakh. Posts of a label are drawn by a hash with a seed, half in each language; `--draws` repeats the
small rows.

What a way predicted is kept in `--keep`, so that slow ones need not run again; the table is made of what is there. Seconds are those of
training alone, on a machine that others may use, so CPU seconds are given too. Peers:

- TF-IDF and logistic regression: our features (words and parts of words), scikit-learn.
- frozen encoder and logistic regression: mean-pooled multilingual-e5-small as the runtime graph has it, standardised. It and our training
  read the same features; they are made once for each set, and a row is charged its share of those seconds.
- SetFit, with the same encoder and its own head; fewer iterations the more posts there are, see `SETFIT_ITERATIONS`.
- model2vec's classifier. No hub is reached: its static embeddings are made of our encoder's token embeddings (PCA to 256, SIF weights, as
  `model2vec.distill` does), once, which is not counted as training. Its own distillation would pass each token through the encoder first.

Where a post may have several labels, thresholds are chosen as ours are (`choose_thresholds`): TF-IDF and the frozen encoder on out-of-fold
probabilities of five folds, SetFit and model2vec on a fifth of the training posts, which their encoder does not see.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narratives import taxonomy as taxonomies
from narratives.encoders import bundled
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.text.normalize import normalize
from narratives.text.respell import latin_kazakh_to_cyrillic
from narratives.training.calibration import choose_thresholds
from narratives.training.corpus import label_targets
from narratives.training.features import Pool, base_bundle, pool_with
from narratives.training.metrics import Figure, macro_f1, macro_f1_difference
from narratives.training.newlabels import Budget, config_for, fit_labels

Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
SEED = 13
SETFIT_ITERATIONS = {8: 20, 16: 10, 32: 5, 64: 2, None: 1}
"""Pairs are made from each post this many times, twice: SetFit's own 20 for 8 posts, then as many steps for any number."""
MAX_TOKENS = 256


@dataclass(frozen=True)
class Task:
    """`n` posts a label (None: all); `single`: exactly one label a post; `definitions` for ways that read them."""

    name: str
    train: list[Post]
    test: list[Post]
    taxonomy: Taxonomy
    toml: str
    single: bool
    n: int | None = None


@dataclass(frozen=True)
class Answer:
    """Decisions on test posts, shape (n_test, n_labels), and what training took."""

    decisions: Bools
    seconds: float
    cpu_seconds: float


def read(posts: Sequence[Post]) -> list[str]:
    return [latin_kazakh_to_cyrillic(normalize(post.text).text) for post in posts]


def order(key: str, draw: int) -> str:
    return hashlib.sha256(f"{draw}:{key}".encode()).hexdigest()


# ---- tasks ------------------------------------------------------------------------------------------------------------

TECHNIQUES = {
    "appeal_to_fear": "Appeal to fear: the post frightens its readers with dangers to come.",
    "bandwagon": "Bandwagon: it appeals to the masses; everybody thinks or does so.",
    "cherry_picking": "Cherry picking: only facts that support the claim are told, others are left out.",
    "cliche": "Thought-terminating cliché: a stock phrase that ends all critical thinking.",
    "euphoria": "Euphoria: an event is used for excitement or good mood, to raise the readers' morale.",
    "fud": "Fear, uncertainty and doubt: information is presented so as to sow uncertainty and doubt.",
    "glittering_generalities": "Glittering generalities: general, attractive words such as freedom, patriotism, family.",
    "loaded_language": "Loaded language: emotionally coloured words that sway the readers.",
    "straw_man": "Straw man: another's position is distorted and then refuted.",
    "whataboutism": "Whataboutism: criticism is answered with accusations against others.",
}
TOPICS = {
    "entertainment": "Entertainment: films, music, television, shows, games.",
    "geography": "Geography: places, rivers, mountains, climate, countries.",
    "health": "Health: medicine, illness, doctors, hospitals.",
    "politics": "Politics: government, elections, war, law, states.",
    "science_technology": "Science and technology: research, physics, biology, computers, inventions.",
    "sports": "Sports: matches, athletes, tournaments, games played for sport.",
    "travel": "Travel: tourism, transport, flights, visits, hotels.",
}


def toml_of(name: str, labels: dict[str, str], *, single: bool) -> str:
    head = f'name = "{name}"\n' + ("single_label = true\n" if single else "")
    return head + "".join(f'\n[[label]]\nid = "{i}"\nname = "{i.replace("_", " ")}"\ndefinition = "{text}"\n' for i, text in labels.items())


def techniques(data: Path) -> Task:
    toml = toml_of("techniques", TECHNIQUES, single=False)
    taxonomy = taxonomies.parse(toml)
    parts: tuple[list[Post], list[Post]] = [], []
    for line in (data / "unlp2025_ru" / "train.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        is_test = int(hashlib.sha256(row["id"].encode()).hexdigest(), 16) % 5 == 0
        parts[is_test].append(Post(row["text"], id=row["id"], language="ru", labels=tuple(row["techniques"] or ()), group=row["id"]))
    return Task("techniques, all", *parts, taxonomy, toml, single=False)


def sentences(data: Path, language: str, part: str) -> list[Post]:
    path = data / "sib200" / f"{language}_Cyrl_{part}.tsv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    code = {"kaz": "kk", "rus": "ru"}[language]
    return [
        Post(
            r["text"],
            id=f"{code}-{r['index_id']}",
            language=code,
            labels=(r["category"].replace("/", "_"),),
            group=f"{part}-{r['index_id']}",
        )
        for r in rows
    ]


def drawn(posts: Sequence[Post], n: int | None, draw: int) -> list[Post]:
    """`n` posts of each label, languages in turn; no sentence in both of its languages."""
    if n is None:
        return list(posts)
    chosen: list[Post] = []
    languages = sorted({p.language or "" for p in posts})
    for label in sorted({p.labels[0] for p in posts if p.labels}):
        groups = sorted({p.group or "" for p in posts if p.labels == (label,)}, key=lambda g: order(g, draw))[:n]
        of = {(p.group, p.language): p for p in posts}
        chosen += [of[group, languages[i % len(languages)]] for i, group in enumerate(groups)]
    return chosen


def topics(data: Path, n: int | None, draw: int, *, only_russian: bool) -> Task:
    toml = toml_of("topics", TOPICS, single=True)
    taxonomy = taxonomies.parse(toml)
    train = sentences(data, "rus", "train") + ([] if only_russian else sentences(data, "kaz", "train"))
    test = sentences(data, "kaz", "dev") + ([] if only_russian else sentences(data, "rus", "dev"))
    name = f"topics{', Russian to Kazakh' if only_russian else ''}, {n or 'all'}" + (f", draw {draw}" if draw else "")
    return Task(name, drawn(train, n, draw), test, taxonomy, toml, single=True, n=n)


def all_tasks(data: Path, n_draws: int) -> list[Task]:
    tasks = [techniques(data)]
    for only_russian in (False, True):
        for n in (8, 16, 32, 64, None):
            for draw in range(n_draws if n in {8, 32} else 1):
                if not (only_russian and n in {16, 64}):
                    tasks.append(topics(data, n, draw, only_russian=only_russian))
    return tasks


# ---- peers ------------------------------------------------------------------------------------------------------------


def one_of(values: Array) -> Bools:
    return np.eye(values.shape[1], dtype=bool)[values.argmax(axis=1)]


def regress(x: object, others: object, task: Task, *, c: float) -> Bools:
    """Logistic regression on features: one of several where a post has one label, else one each with thresholds from five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold, cross_val_predict

    targets = label_targets(task.train, task.taxonomy)
    if task.single:
        model = LogisticRegression(C=c, class_weight="balanced", max_iter=2000, random_state=SEED).fit(x, targets.argmax(axis=1))
        whole = np.zeros((len(task.test), targets.shape[1]), np.float32)
        whole[:, model.classes_] = model.predict_proba(others)
        return one_of(whole)
    found, seen = [], []
    for column in targets.T:
        model = LogisticRegression(C=c, class_weight="balanced", max_iter=2000, random_state=SEED, solver="liblinear")
        folds = KFold(5, shuffle=True, random_state=SEED)
        seen.append(cross_val_predict(model, x, column, cv=folds, method="predict_proba")[:, 1])
        found.append(model.fit(x, column).predict_proba(others)[:, 1])
    thresholds = choose_thresholds(np.stack(seen, axis=1).astype(np.float32), targets)
    decisions: Bools = np.stack(found, axis=1) >= thresholds
    return decisions


def tf_idf(task: Task, keep: Path) -> Bools:
    from scipy.sparse import csr_matrix

    from narratives.backends.linear import tf_idf as weigh
    from narratives.backends.terms import N_FEATURES, count_terms

    terms = count_terms(read(task.train))
    frequency = np.bincount(terms.columns, minlength=N_FEATURES)
    idf = (np.log((1 + len(task.train)) / (1 + frequency)) + 1).astype(np.float32)

    def matrix(texts: Sequence[str]) -> csr_matrix:
        found = count_terms(texts)
        return csr_matrix((weigh(found, idf), found.columns, found.starts), shape=(len(texts), N_FEATURES))

    return regress(matrix(read(task.train)), matrix(read(task.test)), task, c=30.0)


@dataclass
class Features:
    """The encoder's features of every post of the sets, made once, with the seconds a post of its set took."""

    vectors: dict[str, Array]
    cost: dict[str, tuple[float, float]]

    def charge(self, posts: Sequence[Post]) -> None:
        """Count the encoder's seconds for these posts as training."""
        for wall, cpu in (self.cost[text] for text in read(posts)):
            _clock["wall"] += wall
            _clock["cpu"] += cpu

    def pool(self, texts: Sequence[str]) -> Array:
        unknown = [text for text in texts if text not in self.vectors]
        for text, vector in zip(unknown, _pool()(unknown), strict=True):  # definitions, counted as they come
            self.vectors[text] = vector
        return np.stack([self.vectors[text] for text in texts])


@functools.cache
def _pool() -> Pool:
    return pool_with(base_bundle())


@functools.cache
def features(data: Path, keep: Path, *, topics: bool) -> Features:
    if topics:
        sets = {f"{language}_{part}": sentences(data, language, part) for language in ("kaz", "rus") for part in ("train", "dev")}
    else:
        task = techniques(data)
        sets = {"techniques_train": task.train, "techniques_test": task.test}
    path = keep / "features.json"
    seconds: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = Features({}, {})
    for name, posts in sets.items():
        texts = read(posts)
        wall, cpu = time.monotonic(), time.process_time()
        vectors = _pool()(texts)
        took = seconds.setdefault(name, [time.monotonic() - wall, time.process_time() - cpu])
        found.vectors |= dict(zip(texts, vectors, strict=True))
        found.cost |= dict.fromkeys(texts, (took[0] / len(texts), took[1] / len(texts)))
        path.write_text(json.dumps(seconds), encoding="utf-8")
    return found


def frozen(task: Task, keep: Path) -> Bools:
    from sklearn.preprocessing import StandardScaler

    pause()
    known = features(_data(), keep, topics=task.single)
    known.charge(task.train)
    resume()
    x, others = known.pool(read(task.train)), known.pool(read(task.test))
    scale = StandardScaler().fit(x)
    return regress(scale.transform(x), scale.transform(others), task, c=0.1)


def ours(task: Task, keep: Path, budget: Budget = "fast") -> Bools:
    pause()
    known = features(_data(), keep, topics=task.single)
    known.charge(task.train)
    resume()
    config = dataclasses.replace(config_for(budget), seed=SEED)
    with tempfile.TemporaryDirectory() as scratch:
        fitted = fit_labels(task.train, task.taxonomy, base_bundle(), budget=budget, config=config, scratch=Path(scratch), pool=known.pool)
    pause()
    # A tuned encoder reads the test posts itself.
    is_tuned = any(name.startswith("difference.") for name in fitted.body.weights)
    pool = pool_with(fitted.body) if is_tuned else known.pool
    probabilities = fitted.calibration.probabilities(fitted.logits(read(task.test), pool))
    print(f"{task.name}: {fitted.figures['labels']}", file=sys.stderr)
    return fitted.calibration.decide(probabilities, np.array(fitted.calibration.thresholds))


def ours_standard(task: Task, keep: Path) -> Bools:
    """With the encoder's top layers tuned; only where all posts are given, few are not worth it."""
    return ours(task, keep, "standard")


_where: list[Path] = []


def _data() -> Path:
    return _where[0]


def held_out(task: Task) -> Bools:
    """The fifth of the training posts on which a slow peer's thresholds are chosen."""
    return np.array([int(order(p.id or p.text, SEED), 16) % 5 == 0 for p in task.train])


def setfit(task: Task, keep: Path) -> Bools:
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, models
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = bundled.load_model()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = models.Transformer(folder, max_seq_length=MAX_TOKENS)
    body = SentenceTransformer(modules=[transformer, models.Pooling(transformer.get_word_embedding_dimension(), "mean")])
    targets = label_targets(task.train, task.taxonomy)
    texts = [bundled.PREFIX + text for text in read(task.train)]
    others = [bundled.PREFIX + text for text in read(task.test)]
    settings = TrainingArguments(batch_size=16, num_epochs=1, num_iterations=SETFIT_ITERATIONS[task.n], report_to="none", seed=SEED)

    def fit(strategy: str | None, texts_: list[str], labels: list[object]) -> SetFitModel:
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        head = LogisticRegression(max_iter=2000) if strategy is None else OneVsRestClassifier(LogisticRegression(max_iter=2000))
        made = SetFitModel(model_body=body, model_head=head, multi_target_strategy=strategy)
        trainer = Trainer(model=made, args=settings, train_dataset=Dataset.from_dict({"text": texts_, "label": labels}))
        with torch.autocast("cpu", dtype=torch.bfloat16):  # its use_amp is for graphics cards
            trainer.train_embeddings(texts_, labels)
        trainer.train_classifier(texts_, labels)
        return made

    if task.single:
        made = fit(None, texts, targets.argmax(axis=1).tolist())
        pause()
        answer = np.zeros((len(others), targets.shape[1]), np.float32)
        answer[:, made.model_head.classes_] = np.asarray(made.predict_proba(others, as_numpy=True))
        return one_of(answer)
    held = held_out(task)
    made = fit("one-vs-rest", [t for t, h in zip(texts, held, strict=True) if not h], targets[~held].astype(int).tolist())
    chosen_on = made.predict_proba([t for t, h in zip(texts, held, strict=True) if h], as_numpy=True)
    thresholds = choose_thresholds(np.asarray(chosen_on, dtype=np.float32), targets[held])
    pause()
    decisions: Bools = np.asarray(made.predict_proba(others, as_numpy=True)) >= thresholds
    return decisions


def static_model(keep: Path) -> object:
    """Static embeddings of our encoder: its token embeddings, PCA to 256 and SIF weights as `model2vec.distill` has them."""
    from model2vec import StaticModel
    from model2vec.distill.inference import apply_pca, compute_weights

    path = keep / "static.npy"
    if not path.is_file():
        _shape, weights = bundled.read_weights()
        vectors = weights["embeddings.word_embeddings.weight"][bundled.kept_ids()]
        np.save(path, (apply_pca(vectors, 256) * compute_weights(len(vectors), sif_coefficient=1e-4)[:, None]).astype(np.float32))
    return StaticModel(vectors=np.load(path), tokenizer=bundled.build_tokenizer(trimmed=True), config={}, normalize=True)


def model2vec(task: Task, keep: Path) -> Bools:
    pause()
    static = static_model(keep)
    resume()
    from model2vec.train import StaticModelForClassification

    classifier = StaticModelForClassification.from_static_model(model=static)
    targets, texts = label_targets(task.train, task.taxonomy), np.array(read(task.train), dtype=object)
    ids = np.array(task.taxonomy.ids)
    if task.single:
        classifier.fit(texts.tolist(), ids[targets.argmax(axis=1)].tolist(), device="cpu")
        pause()
        return np.asarray(np.asarray(classifier.predict(read(task.test)))[:, None] == ids[None])
    held = held_out(task)
    labels = [ids[row].tolist() for row in targets]
    classifier.fit(texts[~held].tolist(), [row for row, h in zip(labels, held, strict=True) if not h], device="cpu")

    def probabilities(some: list[str]) -> Array:
        found = np.asarray(classifier.predict_proba(some), dtype=np.float32)
        return found[:, [list(classifier.classes_).index(i) for i in ids]]

    thresholds = choose_thresholds(probabilities(texts[held].tolist()), targets[held])
    pause()
    decisions: Bools = probabilities(read(task.test)) >= thresholds
    return decisions


# ---- measuring --------------------------------------------------------------------------------------------------------

_clock = {"wall": 0.0, "cpu": 0.0, "since_wall": 0.0, "since_cpu": 0.0, "runs": False}


def resume() -> None:
    _clock.update(since_wall=time.monotonic(), since_cpu=time.process_time(), runs=True)


def pause() -> None:
    """Stop counting: what follows is no training, such as reading the test posts."""
    if _clock["runs"]:
        _clock["wall"] += time.monotonic() - _clock["since_wall"]
        _clock["cpu"] += time.process_time() - _clock["since_cpu"]
        _clock["runs"] = False


def answer(name: str, task: Task, keep: Path) -> Answer | None:
    """What a way says on a task: from `keep`, or made now and kept."""
    path = keep / f"{name}--{task.name}.json".replace(" ", "_").replace(",", "")
    if path.is_file():
        row = json.loads(path.read_text(encoding="utf-8"))
        return Answer(np.array(row["decisions"], dtype=bool), row["seconds"], row["cpu_seconds"])
    if name not in _asked:
        return None
    _clock.update(wall=0.0, cpu=0.0)
    resume()
    decisions = WAYS[name](task, keep)
    pause()
    found = Answer(decisions, _clock["wall"], _clock["cpu"])
    score = macro_f1(label_targets(task.test, task.taxonomy), decisions, [p.group or "" for p in task.test])
    print(f"{task.name}: {name} {score} in {found.seconds:.0f} s ({found.cpu_seconds:.0f} CPU s)", file=sys.stderr, flush=True)
    row = {"decisions": decisions.astype(int).tolist(), "seconds": found.seconds, "cpu_seconds": found.cpu_seconds}
    path.write_text(json.dumps(row), encoding="utf-8")
    return found


WAYS: dict[str, Callable[[Task, Path], Bools]] = {
    "ours": ours,
    "tf-idf": tf_idf,
    "frozen": frozen,
    "model2vec": model2vec,
    "setfit": setfit,
    "ours standard": ours_standard,
}
_asked: set[str] = set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, default=Path("out/retraining"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(WAYS), help="ways to run; of the others only what is kept is shown")
    parser.add_argument("--rows", default="", help="only rows whose name has this in it")
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    _asked.update(arguments.only)
    _where.append(arguments.data)
    found: dict[str, dict[str, list[tuple[Task, Answer]]]] = {}
    for task in all_tasks(arguments.data, arguments.draws):
        if arguments.rows in task.name:
            for name in WAYS:
                if name == "ours standard" and task.n is not None:
                    continue
                if (one := answer(name, task, arguments.keep)) is not None:
                    found.setdefault(task.name.split(", draw")[0], {}).setdefault(name, []).append((task, one))
    for row, ways in [*found.items()]:
        if tuned := ways.pop("ours standard", None):
            found[f"{row}; budget standard"] = {**ways, "ours": tuned}
    print("\n".join(table(found)))
    return 0


def table(found: dict[str, dict[str, list[tuple[Task, Answer]]]]) -> list[str]:
    """Each row's ways: macro-F1, how far ours is ahead on the draws that both have (posts of all draws together, a bootstrap over
    test posts), seconds, and whether the row passes: ahead, or within the interval at less than a third of the seconds."""
    lines = ["| row | way | draws | macro-F1 [95%] | ours ahead by | seconds | CPU seconds | passes |", "|---|---|---|---|---|---|---|---|"]
    for row, ways in found.items():
        for name, answers in ways.items():
            mine = ways.get("ours", [])
            n = min(len(answers), len(mine)) if mine else len(answers)
            score, _ = _over(answers)
            seconds, cpu = (sum(getattr(a, key) for _, a in answers) / len(answers) for key in ("seconds", "cpu_seconds"))
            ahead, passes = "", ""
            if name != "ours" and mine:
                _, difference = _over(mine[:n], answers[:n])
                own = sum(a.cpu_seconds for _, a in mine[:n]) / n
                ahead = str(difference)
                passes = "yes" if difference.low > 0 else "yes, in less time" if difference.high >= 0 and own < cpu / 3 else "no"
            shown = f"**{name}**" if name == "ours" else name
            lines.append(f"| {row} | {shown} | {len(answers)} | {score} | {ahead} | {seconds:.0f} | {cpu:.1f} | {passes} |")
    return lines


def _over(mine: list[tuple[Task, Answer]], theirs: list[tuple[Task, Answer]] | None = None) -> tuple[Figure, Figure]:
    """Macro-F1, and the difference to others, over the draws of a row; a test post counts with all its draws in one bootstrap unit."""
    targets = np.concatenate([label_targets(task.test, task.taxonomy) for task, _ in mine])
    groups = [p.group or "" for task, _ in mine for p in task.test]
    own = np.concatenate([a.decisions for _, a in mine])
    others = np.concatenate([a.decisions for _, a in theirs]) if theirs else own
    return macro_f1(targets, own, groups), macro_f1_difference(targets, own, others, groups)


if __name__ == "__main__":
    sys.exit(main())
