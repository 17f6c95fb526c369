"""scikit-learn: `NarrativeClassifier`, an estimator over texts for `Pipeline`, `cross_val_predict` and the metrics.

`fit` trains a model of this package on texts and labels, with the linear base (a second) or an encoder (minutes), and calibrates it on
a part of the posts that it holds back. `from_pretrained` makes a fitted estimator out of a trained bundle.
"""

from __future__ import annotations

import atexit
import dataclasses
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from narratives import bundle as bundles
from narratives import taxonomy as taxonomies
from narratives.bundle import Calibration, ModelBundle, Reading
from narratives.config import ScoreConfig, TrainConfig
from narratives.errors import ConfigError, MissingDependency
from narratives.records import Post
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingDependency(error.name or "scikit-learn", "train") from error

Texts = Iterable[str]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class NarrativeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Multi-label or single-label classification of texts.

    Args:
        base: `linear`, the shipped `multilingual-e5-small`, or any transformers id or folder.
        labels: names of the columns of `y`; None: `label_0`, … For a one-dimensional `y` the names are its values.
        validation_share: of the texts, held back from fitting to stop, calibrate and choose thresholds on.
        train_config: further settings by name, as in `TrainConfig`: `{"epochs": 3}`.
        backend: what predicts; `auto` as everywhere.
        output: folder for the trained bundle, which `Scorer.from_pretrained` and `narratives score --model` read; None: nothing is kept
            once the process ends.
        random_state: seed, or a numpy generator.

    Attributes set by `fit`: `classes_` (label names, columns of `predict_proba`), `bundle_`, `multilabel_`.
    """

    def __init__(
        self,
        *,
        base: str = "linear",
        labels: Sequence[str] | None = None,
        validation_share: float = 0.2,
        train_config: dict[str, object] | None = None,
        backend: str = "auto",
        output: str | Path | None = None,
        random_state: Any = 13,
    ) -> None:
        self.base = base
        self.labels = labels
        self.validation_share = validation_share
        self.train_config = train_config
        self.backend = backend
        self.output = output
        self.random_state = random_state

    def fit(self, X: Texts, y: Any, groups: Any = None) -> Self:  # noqa: N803  # scikit-learn's name
        """Train on texts.

        Args:
            X: n texts: a list, an array or a column of a table.
            y: 0 and 1, shape (n, n_labels); or n labels, one a text.
            groups: the event of each text; texts of one group are held back together. None: each text stands alone, with its copies.

        Raises:
            ConfigError: shapes do not fit, there are too few texts to hold any back, or a name in `labels` is no id.
            MissingDependency: `narratives[train]` is not installed.
        """
        texts = _texts(X)
        targets, names, self.multilabel_ = self._targets(y, len(texts))
        ids = _ids(names)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        taxonomy_text = 'name = "labels"\nversion = 1\n' + "".join(
            f'\n[[label]]\nid = "{i}"\nname = {_toml(str(n))}\n' for i, n in zip(ids, names, strict=True)
        )
        taxonomy = taxonomies.parse(taxonomy_text, "labels of NarrativeClassifier")
        marks = [str(g) for g in groups] if groups is not None else [None] * len(texts)
        if len(marks) != len(texts):
            raise ConfigError(f"groups has {len(marks)} items, X {len(texts)}")
        posts = [
            Post(text=text, id=str(i), labels=tuple(ids[j] for j in np.flatnonzero(row)), group=group)
            for i, (text, row, group) in enumerate(zip(texts, targets, marks, strict=True))
        ]
        held_back, kept = _hold_back(posts, self.validation_share, seed)
        settings = {"base_model": self.base, "seed": seed % 10_000, "validation_share": self.validation_share, **(self.train_config or {})}
        config = TrainConfig.from_dict(settings)
        if self.base == "linear":
            bundle = _fit_linear(kept, held_back, taxonomy, taxonomy_text, config)
            self.bundle_ = bundle.save_pretrained(self.output) if self.output is not None else bundle
        else:
            from narratives.training.corpus import Split
            from narratives.training.train import train

            folder = Path(self.output) if self.output is not None else _scratch_folder()
            # The held-back part stands where a test part would: what is measured on it is nothing to quote.
            self.bundle_ = train(posts, taxonomy, taxonomy_text, folder, config=config, split=Split(kept, held_back, held_back))
        self.classes_ = np.array(names) if not self.multilabel_ else np.array([str(n) for n in names], dtype=object)
        self._scorer: Scorer | None = None
        return self

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, *, backend: str = "auto") -> Self:
        """A fitted multi-label estimator over a trained bundle (None: the one that is shipped)."""
        self = cls(backend=backend)
        self.bundle_ = bundles.load(name_or_path)
        self.classes_ = np.array(self.bundle_.labels, dtype=object)
        self.multilabel_ = True
        self._scorer = None
        return self

    def predict_proba(self, X: Texts) -> FloatArray:  # noqa: N803
        """Shape (n, n_labels), columns as `classes_`: each label's own probability; for single labels, rows sum to 1."""
        check_is_fitted(self)
        probabilities = self._loaded().predict_proba(_texts(X))
        return probabilities if self.multilabel_ else probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)

    def predict(self, X: Texts) -> npt.NDArray[Any]:  # noqa: N803
        """0 and 1, shape (n, n_labels), by the thresholds chosen when fitting; of single labels the most probable, shape (n,)."""
        probabilities = self.predict_proba(X)
        if not self.multilabel_:
            found: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
            return found
        thresholds = np.array(self.bundle_.calibration.thresholds, dtype=np.float32)
        return self.bundle_.calibration.decide(probabilities, thresholds).astype(np.int64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = False, True, True
        tags.classifier_tags.multi_label = True
        tags.no_validation = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "bundle_")

    def __getstate__(self) -> dict[str, Any]:
        # The loaded engine stays behind when joblib sends an estimator to another process; the weights go along.
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_scorer": None} if "_scorer" in state else state

    def _loaded(self) -> Scorer:
        if self._scorer is None:
            bundle: ModelBundle = self.bundle_
            self._scorer = Scorer.from_bundle(bundle, config=ScoreConfig(backend=self.backend, evidence=False))  # type: ignore[arg-type]
        return self._scorer

    def _targets(self, y: Any, n: int) -> tuple[IntArray, list[Any], bool]:
        values = np.asarray(y)
        if values.ndim not in (1, 2) or len(values) != n:
            raise ConfigError(f"y has shape {values.shape}, expected ({n},) or ({n}, n_labels)")
        if values.ndim == 1:
            names, codes = np.unique(values, return_inverse=True)
            return np.eye(len(names), dtype=np.int64)[codes], names.tolist(), False
        if not np.isin(values, (0, 1)).all():
            raise ConfigError("y with two dimensions must hold 0 and 1 only: a column for each label (MultiLabelBinarizer makes it)")
        names_of_columns = list(self.labels) if self.labels is not None else [f"label_{i}" for i in range(values.shape[1])]
        if len(names_of_columns) != values.shape[1]:
            raise ConfigError(f"labels has {len(names_of_columns)} names, y {values.shape[1]} columns")
        return values.astype(np.int64), names_of_columns, True


def _texts(X: Texts) -> list[str]:  # noqa: N803
    if isinstance(X, str):
        raise ConfigError("expected a list of texts, found one text; write [text]")
    values = X.tolist() if isinstance(X, np.ndarray) and X.ndim == 1 else list(X)
    for value in values:
        if not isinstance(value, str):
            raise ConfigError(f"expected texts, found {type(value).__name__}; give one column of texts")
    return values


def _ids(names: Sequence[Any]) -> list[str]:
    """Label ids for any names: names that are ids keep themselves."""
    ids = [name if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name) else f"label_{i}" for i, name in enumerate(names)]
    return ids if len(set(ids)) == len(ids) else [f"label_{i}" for i in range(len(names))]


def _toml(text: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else "?" for c in text)
    return f'"{escaped}"'


def _hold_back(posts: Sequence[Post], share: float, seed: int) -> tuple[list[Post], list[Post]]:
    """Whole groups, at random, until they are that share of the posts."""
    from narratives.training.corpus import group_of

    groups: dict[str, list[Post]] = {}
    for post in posts:
        groups.setdefault(group_of(post), []).append(post)
    order = np.random.default_rng(seed).permutation(len(groups))
    names = list(groups)
    held: set[str] = set()
    n_held = 0
    for i in order:
        if n_held >= share * len(posts):
            break
        held.add(names[i])
        n_held += len(groups[names[i]])
    held_back = [post for name in names if name in held for post in groups[name]]
    kept = [post for name in names if name not in held for post in groups[name]]
    if len(kept) < 2:
        raise ConfigError(f"{len(posts)} texts are too few to hold some back for calibration; expected at least 4 that differ")
    return held_back, kept


def _fit_linear(
    train: Sequence[Post], validation: Sequence[Post], taxonomy: Taxonomy, taxonomy_text: str, config: TrainConfig
) -> ModelBundle:
    """A calibrated linear bundle in memory, as `narratives train` makes it; nothing is measured: that is what cross-validation is for."""
    from narratives.training.calibration import fit_calibration
    from narratives.training.corpus import label_targets, stance_targets
    from narratives.training.linear import fit_linear
    from narratives.training.measure import raw_logits

    bundle = ModelBundle(
        name="linear",
        taxonomy=taxonomy,
        taxonomy_text=taxonomy_text,
        kind="linear",
        base_model="linear",
        base_sha256="",
        reading=Reading(max_length=100_000, latin_kazakh_to_cyrillic=True),
        calibration=Calibration.identity(len(taxonomy)),
        train_config=config,
        metrics={},
        card="A model that NarrativeClassifier fitted; nothing was measured.\n",
        weights=fit_linear(train, taxonomy, seed=config.seed),
    )
    labels, stances = raw_logits(bundle, validation, ScoreConfig(backend="linear", evidence=False))
    calibration = fit_calibration(labels, label_targets(validation, taxonomy), stances, stance_targets(validation))
    return dataclasses.replace(bundle, calibration=calibration)


def _scratch_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="narratives-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "model"
