"""Scorer: a trained bundle ready to read posts. Two calls: `Scorer.from_pretrained().predict(["…"])`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from narratives import bundle as bundles
from narratives import evidence as evidences
from narratives import plugins
from narratives.backends import Backend, Logits
from narratives.backends.linear import LinearModel
from narratives.bundle import INT8_GRAPH, ModelBundle
from narratives.config import ScoreConfig, may_have_bfloat16
from narratives.errors import ConfigError
from narratives.records import STANCES, Cell, Evidence, Post, Prediction, Stance, column_names, to_row
from narratives.taxonomy import Taxonomy
from narratives.text.language import detect, load_identifier
from narratives.text.normalize import NormalizedText, normalize
from narratives.text.respell import is_latin_kazakh, latin_kazakh_to_cyrillic, to_cyrillic
from narratives.text.windows import Span, windows

FloatArray = npt.NDArray[np.float32]

MAX_FLIPPED = 0.005
"""A fast backend is used only where at most this share of validation decisions differ from torch in float32."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One distinct clean text. Both arrays are probabilities."""

    probabilities: FloatArray
    stances: FloatArray
    truncated: bool
    screened: bool = False


class _Prepared(NamedTuple):
    """A chunk of posts before the encoder: one item a post in each. `texts` are as the models read them."""

    posts: Sequence[Post]
    cleaned: list[NormalizedText]
    languages: list[str]
    texts: Sequence[str]
    passed: npt.NDArray[np.bool_]
    """False where the screen found that the post surely carries nothing."""


class Scorer:
    """Gives posts narrative labels and a stance. Make one with `from_pretrained`; it may be used for many calls.

    Not safe for use from several threads at once: give each its own.
    """

    def __init__(self, bundle: ModelBundle, config: ScoreConfig, backend: Backend) -> None:
        self.bundle = bundle
        self.config = config
        self.backend = backend
        linear_part = bundle.linear_part()
        self._linear = LinearModel(linear_part) if linear_part else None
        self._screen_threshold = bundle.calibration.screen_at(config.operating_point) if config.screen else None
        wanted = bundle.taxonomy.select(config.labels) if config.labels is not None else bundle.labels
        self._thresholds = np.array(
            [t if i in wanted else np.inf for i, t in zip(bundle.labels, bundle.calibration.at(config.operating_point), strict=True)]
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        config: ScoreConfig | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> Scorer:
        """Load a bundle.

        Args:
            name_or_path: a folder made by `narratives train`, the name of a shipped bundle, or None for the default one.
            config: how to score; None: the defaults.
            on_progress: gets a line of text before slow work, such as building the runtime graph at first use.

        Raises:
            BundleError: the bundle is missing, incomplete, damaged or foreign.
            MissingDependency: the backend asked for is not installed.
        """
        loaded = bundles.load(name_or_path)
        return cls.from_bundle(loaded, config=config, on_progress=on_progress)

    @classmethod
    def from_bundle(
        cls, bundle: ModelBundle, *, config: ScoreConfig | None = None, on_progress: Callable[[str], None] | None = None
    ) -> Scorer:
        """A scorer for a bundle that is already loaded."""
        config = config or ScoreConfig()
        runtime = bundle.runtime(on_progress) if on_progress is not None else bundle.runtime()
        name = config.backend if config.backend != "auto" else choose_backend(bundle, on_progress or (lambda _: None))
        backend = cast(Backend, plugins.load("backend", plugins.BACKENDS, name)(runtime, config))
        return cls(bundle, config, backend)

    @property
    def screens(self) -> bool:
        """Whether posts are screened: the config asks for it, the bundle has a screen, and the operating point is not `high_recall`."""
        return self._screen_threshold is not None

    @property
    def taxonomy(self) -> Taxonomy:
        return self.bundle.taxonomy

    @property
    def labels(self) -> tuple[str, ...]:
        """Label ids in the order of all probability arrays."""
        return self.bundle.labels

    def predict(self, texts_or_posts: Iterable[str | Post]) -> list[Prediction]:
        """One prediction for each text or post, in order. An empty text gets no label."""
        return list(self.pipe(_posts(texts_or_posts)))

    def predict_proba(self, texts_or_posts: Iterable[str | Post]) -> FloatArray:
        """Calibrated probabilities, float32, shape (n_posts, n_labels), columns in the order of `labels`."""
        rows = [
            scored.probabilities
            for chunk in _chunks(_posts(texts_or_posts), self.config.chunk_posts)
            for scored in self._score(self._respell([normalize(post.text).text for post in chunk]))
        ]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), dtype=np.float32)

    def pipe(self, posts: Iterable[Post]) -> Iterator[Prediction]:
        """Stream predictions in the order of the posts, `config.chunk_posts` at a time; memory stays constant."""
        for chunk in _chunks(posts, self.config.chunk_posts):
            yield from self._predict(self._prepare(chunk))

    def pipe_chunks(self, chunks: Iterable[Sequence[Post]]) -> Iterator[list[Prediction]]:
        """Predictions of each chunk, in order. While the encoder reads one chunk, the next is taken and prepared: cleaned and screened.

        For dumps: a live feed would wait for the next chunk before it gets the answers to this one.
        """
        load_identifier()
        with ThreadPoolExecutor(1, thread_name_prefix="narratives-prepare") as worker:
            ahead: Future[_Prepared] | None = None
            for chunk in chunks:
                ready, ahead = ahead, worker.submit(self._prepare, chunk)
                if ready is not None:
                    yield self._predict(ready.result())
            if ahead is not None:
                yield self._predict(ahead.result())

    def as_map(self, column: str = "text") -> BatchMap:
        """A function over columns, for tables: `dataset.map(scorer.as_map(), batched=True)`, or called on a pandas or polars table.

        Args:
            column: the one that holds the texts; None in it counts as an empty text.
        """
        return BatchMap(self, column)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _prepare(self, posts: Sequence[Post]) -> _Prepared:
        """All that needs no encoder."""
        cleaned = [normalize(post.text) for post in posts]
        texts = self._respell([clean.text for clean in cleaned])
        passed = np.ones(len(posts), dtype=np.bool_)
        if self._screen_threshold is not None and self._linear is not None and posts:
            passed = self._linear.outputs(texts)["screen"][:, 0] >= self._screen_threshold
        return _Prepared(posts, cleaned, [detect(clean.text).language for clean in cleaned], texts, passed)

    def _predict(self, prepared: _Prepared) -> list[Prediction]:
        posts, cleaned, languages, texts, passed = prepared
        answers = iter(self._score([text for text, through in zip(texts, passed, strict=True) if through]))
        nothing = np.zeros(len(self.labels), np.float32), np.zeros(len(STANCES), np.float32)
        scored = [next(answers) if through else _Answer(*nothing, truncated=False, screened=True) for through in passed]
        flagged = [
            [
                int(i)
                for i in sorted(
                    np.flatnonzero(self.bundle.calibration.decide(one.probabilities[None], self._thresholds)[0]),
                    key=lambda i: self._thresholds[i] - one.probabilities[i],
                )
            ]
            for one in scored
        ]
        evidence = self._evidence(cleaned, scored, flagged) if self.config.evidence else [()] * len(posts)
        labels, model_id, has_stance = self.labels, self.bundle.model_id, self.bundle.calibration.has_stance
        return [
            Prediction(
                post=post,
                labels=tuple(labels[i] for i in found),
                probabilities={} if one.screened else dict(zip(labels, one.probabilities.tolist(), strict=True)),
                stance=_stance(one) if found and has_stance else None,
                stance_probabilities={} if one.screened or not has_stance else dict(zip(STANCES, one.stances.tolist(), strict=True)),
                evidence=tuple(carried),
                language=language,
                truncated=one.truncated,
                screened=one.screened,
                model=model_id,
            )
            for post, language, one, found, carried in zip(posts, languages, scored, flagged, evidence, strict=True)
        ]

    def _respell(self, texts: Sequence[str]) -> Sequence[str]:
        """As the models read them: Kazakh in Latin letters in Cyrillic ones, if the bundle was trained so."""
        if not self.bundle.reading.latin_kazakh_to_cyrillic:
            return texts
        return [latin_kazakh_to_cyrillic(text) for text in texts]

    def _score(self, texts: Sequence[str]) -> list[_Answer]:
        """Score texts as the models read them (`_respell`); equal ones once, long ones window by window."""
        distinct = list(dict.fromkeys(texts))
        plans = self._plan(distinct)
        pieces = [text[a:b] for text, (spans, _) in zip(distinct, plans, strict=True) for a, b in spans]
        logits = self.backend.logits(pieces)
        if self._linear is not None:
            beside = self._linear.logits(pieces)
            logits = Logits(logits.labels + beside.labels, logits.stances + beside.stances)
        found: dict[str, _Answer] = {}
        at = 0
        for text, (spans, truncated) in zip(distinct, plans, strict=True):
            found[text] = self._combine(Logits(logits.labels[at : at + len(spans)], logits.stances[at : at + len(spans)]), truncated)
            at += len(spans)
        return [found[text] for text in texts]

    def _plan(self, texts: Sequence[str]) -> list[tuple[tuple[Span, ...], bool]]:
        """The windows of each text; none for a text without a word."""
        limit = self.backend.max_tokens
        plans: list[tuple[tuple[Span, ...], bool]] = [(((0, len(text)),) if any(map(str.isalpha, text)) else (), False) for text in texts]
        # A token is at least one character, so only longer texts need to be counted.
        long = [i for i, text in enumerate(texts) if len(text) > limit and plans[i][0]]
        for i, n_tokens in zip(long, self.backend.count_tokens([texts[i] for i in long]) if long else [], strict=True):
            if n_tokens > limit:
                split = windows(texts[i], self.backend.count_tokens, max_tokens=limit, max_windows=self.config.max_windows)
                plans[i] = split.spans, split.truncated
        return plans

    def _combine(self, logits: Logits, truncated: bool) -> _Answer:
        """A post carries what any of its windows carries; its stance is that of the window that carries most."""
        if not len(logits.labels):
            nothing = np.zeros(len(self.labels), dtype=np.float32)
            return _Answer(nothing, np.zeros(len(STANCES), dtype=np.float32), truncated)
        probabilities = self.bundle.calibration.probabilities(logits.labels)
        strongest = int(np.argmax((probabilities - np.minimum(self._thresholds, 1.0)).max(axis=1)))
        stances = self.bundle.calibration.stance_probabilities(logits.stances[strongest : strongest + 1])[0]
        return _Answer(probabilities.max(axis=0), stances, truncated)

    def _evidence(
        self, cleaned: Sequence[NormalizedText], scored: Sequence[_Answer], flagged: Sequence[Sequence[int]]
    ) -> list[tuple[Evidence, ...]]:
        spans = {i: evidences.candidate_spans(cleaned[i].text) for i, found in enumerate(flagged) if found}
        # One batch for all posts: a few sentences alone would leave most of a batch empty.
        asked = {i: self._questions(cleaned[i].text, s) for i, s in spans.items() if len(s) > 1}
        answers = iter(self._score(list(itertools.chain.from_iterable(asked.values()))))
        result: list[tuple[Evidence, ...]] = [()] * len(cleaned)
        for i, sentence_spans in spans.items():
            if i in asked:
                mine = np.stack([one.probabilities for one in itertools.islice(answers, len(asked[i]))])
                weights = evidences.weigh(scored[i].probabilities, mine)
            else:
                weights = np.ones((len(sentence_spans), len(self.labels)), dtype=np.float32)
            carried: list[Evidence] = []
            for label in flagged[i]:
                for sentence, weight in evidences.choose(weights, label):
                    start, end = cleaned[i].to_original(*sentence_spans[sentence])
                    carried.append(Evidence(self.labels[label], start, end, round(weight, 4)))
            result[i] = tuple(carried)
        return result

    def _questions(self, text: str, spans: Sequence[Span]) -> list[str]:
        found = evidences.questions(text, spans)
        # Decided by the whole post: a short sentence may have no word that tells its language.
        if self.bundle.reading.latin_kazakh_to_cyrillic and is_latin_kazakh(text):
            return [to_cyrillic(question) for question in found]
        return found


class BatchMap:
    """Columns in, columns out: the output's columns beside those of the post, `language` to `model`, one list each.

    Sent to another process it travels as the bundle's place and the settings, and loads the model there. `datasets` keys its cache by
    what is sent: the bundle's digest is part of it, so another model never finds this one's results.
    """

    def __init__(self, scorer: Scorer, column: str = "text") -> None:
        self._scorer: Scorer | None = scorer
        self._bundle, self._config = scorer.bundle.path or scorer.bundle, scorer.config
        self._digest, self._column = scorer.bundle.digest, column

    def __call__(self, columns: Mapping[str, Sequence[str | None]]) -> dict[str, list[Cell]]:
        """Score a column of texts.

        Raises:
            ConfigError: there is no such column, or the bundle is not the one this was made of.
        """
        try:
            texts = columns[self._column]
        except Exception as error:  # each kind of table has its own
            found = ", ".join(str(name) for name in getattr(columns, "columns", columns))
            raise ConfigError(f"no column {self._column!r}; found {found}. Name it: as_map(column)") from error
        scorer = self._loaded()
        posts = [Post(text=text if isinstance(text, str) else "") for text in texts]
        rows = [to_row(prediction, scorer.labels) for prediction in scorer.pipe(posts)]
        names = column_names(scorer.labels)
        return {name: [row[name] for row in rows] for name in names[names.index("language") :]}

    def _loaded(self) -> Scorer:
        if self._scorer is None:
            bundle = bundles.load(self._bundle) if isinstance(self._bundle, Path) else self._bundle
            if bundle.digest != self._digest:
                raise ConfigError(f"{bundle.path}: the bundle was replaced since this function was made; make it again")
            self._scorer = Scorer.from_bundle(bundle, config=self._config)
        return self._scorer

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_scorer": None}


def choose_backend(bundle: ModelBundle, on_progress: Callable[[str], None] = lambda _: None) -> str:
    """linear for a linear bundle; OpenVINO where the CPU has bfloat16 and the bundle's agreement check passed; else onnx."""
    if bundle.kind == "linear":
        return "linear"
    # With ranges of activations it runs another graph here than it may have where the bundle was made: that graph was checked by itself.
    checked = ("openvino", INT8_GRAPH) if bundle.activation_ranges else ("openvino",)
    flipped = [bundle.agreement.get(name, {}).get("flipped_share") for name in checked]
    if all(isinstance(share, float) and share <= MAX_FLIPPED for share in flipped) and may_have_bfloat16():
        try:
            from narratives.backends.openvino import has_bfloat16
        except ImportError:
            on_progress("this CPU computes in bfloat16: pip install 'narratives[fast]' scores faster")
            return "onnx"
        if has_bfloat16():
            return "openvino"
    return "onnx"


def _stance(scored: _Answer) -> Stance:
    return STANCES[int(np.argmax(scored.stances))]


def _posts(texts_or_posts: Iterable[str | Post]) -> Iterator[Post]:
    if isinstance(texts_or_posts, str):
        raise ConfigError("expected a list of texts, found one text; write [text]")
    for item in texts_or_posts:
        if isinstance(item, Post):
            yield item
        elif isinstance(item, str):
            yield Post(text=item)
        else:
            raise ConfigError(f"expected texts or posts, found {type(item).__name__}")


def _chunks(posts: Iterable[Post], size: int) -> Iterator[list[Post]]:
    iterator = iter(posts)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
