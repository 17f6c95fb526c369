"""spaCy: `nlp.add_pipe("narratives")` on any pipeline, such as `spacy.blank("ru")` or, with `kazakh.py`, `spacy.blank("kk")`.

    doc.cats                 probability of each label
    doc._.narratives         the labels above their thresholds, strongest first
    doc._.stance             endorses, reports, refutes, or None where there is no label
    doc.spans["narratives"]  the sentences that carry each label; `span.label_` is the label, `span._.weight` its share of the evidence

The model is loaded when the first text comes, so a pipeline is made and saved at once. `nlp.to_disk` puts the bundle into the
pipeline's folder: what is loaded from there needs no other file.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from narratives import bundle as bundles
from narratives.config import BackendName, OperatingPoint, ScoreConfig
from narratives.errors import MissingDependency
from narratives.records import Prediction
from narratives.scorer import Scorer

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, SpanGroup
except ImportError as error:
    raise MissingDependency(error.name or "spacy", "spacy") from error

from narratives.integrations.kazakh import Kazakh

__all__ = ["SPANS", "Kazakh", "NarrativesPipe", "make"]

SPANS = "narratives"
"""Key of the evidence in `doc.spans`."""
_BUNDLE = "bundle"


class NarrativesPipe:
    """The pipeline component. Its settings are those of `ScoreConfig`; `model` is what `Scorer.from_pretrained` takes."""

    def __init__(self, name: str, *, model: str | None = None, config: ScoreConfig | None = None) -> None:
        self.name = name
        self.model = model
        self.config = config or ScoreConfig()
        self._scorer: Scorer | None = None
        self._loaded_in = 0
        for kind, names in ((Doc, ("narratives", "stance", "stance_probabilities")), (Span, ("weight",))):
            for extension in names:
                if not kind.has_extension(extension):
                    kind.set_extension(extension, default=None)

    @property
    def scorer(self) -> Scorer:
        """The loaded model. After a fork it is loaded again: an inference engine's threads do not survive one."""
        if self._scorer is None or self._loaded_in != os.getpid():
            self._scorer, self._loaded_in = Scorer.from_pretrained(self.model, config=self.config), os.getpid()
        return self._scorer

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the model once it is loaded; before, none: spaCy asks for them whenever it makes or saves a pipeline."""
        return self._scorer.labels if self._scorer is not None else ()

    def __call__(self, doc: Doc) -> Doc:
        return self._predict([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256) -> Iterator[Doc]:
        """Score docs in batches, in order. Larger batches waste less padding; `nlp.pipe(batch_size=…)` sets it."""
        docs = iter(stream)
        while batch := list(itertools.islice(docs, batch_size)):
            yield from self._predict(batch)

    def _predict(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        for doc, prediction in zip(docs, self.scorer.predict([doc.text for doc in docs]), strict=True):
            annotate(doc, prediction)
        return docs

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scorer": None, "_loaded_in": 0}

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Put a copy of the bundle into the pipeline's folder."""
        source, target = bundles.find(self.model), Path(path) / _BUNDLE
        if target.exists() and source.samefile(target):
            return  # saved over the folder it was loaded from
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> NarrativesPipe:
        """Take the bundle from the pipeline's folder. It is checked when it is first used."""
        self.model, self._scorer = str(Path(path) / _BUNDLE), None
        return self


def annotate(doc: Doc, prediction: Prediction) -> None:
    """Write a prediction of `doc.text` into the doc. Sentences that cut a token are widened to whole tokens."""
    doc.cats = {**doc.cats, **prediction.probabilities}
    doc._.narratives = prediction.labels
    doc._.stance = prediction.stance
    doc._.stance_probabilities = dict(prediction.stance_probabilities)
    spans = []
    for item in prediction.evidence:
        span = doc.char_span(item.start, item.end, label=item.label, alignment_mode="expand")
        if span is not None:
            span._.weight = item.weight
            spans.append(span)
    doc.spans[SPANS] = SpanGroup(doc, name=SPANS, spans=spans)


@Language.factory(
    "narratives",
    assigns=["doc.cats", "doc._.narratives", "doc._.stance", "doc._.stance_probabilities", "doc.spans", "span._.weight"],
    default_config={
        "model": None,
        "operating_point": "balanced",
        "backend": "auto",
        "threads": None,
        "evidence": True,
        "labels": None,
        "screen": False,
    },
)
def make(
    nlp: Language,
    name: str,
    model: str | None,
    operating_point: str,
    backend: str,
    threads: int | None,
    evidence: bool,
    labels: list[str] | None,
    screen: bool,
) -> NarrativesPipe:
    """The factory that `nlp.add_pipe("narratives", config={…})` calls."""
    config = ScoreConfig(
        operating_point=cast(OperatingPoint, operating_point),
        backend=cast(BackendName, backend),
        threads=threads,
        evidence=evidence,
        labels=tuple(labels) if labels is not None else None,
        screen=screen,
    )
    return NarrativesPipe(name, model=model, config=config)
