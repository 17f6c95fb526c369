"""What the service takes and gives, as pydantic models: OpenAPI is made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from narratives.records import Post, Prediction

MAX_TEXT_CHARACTERS = 100_000
MAX_ID_CHARACTERS = 200


class PostIn(BaseModel):
    """A post to score. Nothing but its text is read by the model; the id comes back with the answer."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS, description="The post's text, at most 100,000 characters.")]
    id: Annotated[str | None, Field(max_length=MAX_ID_CHARACTERS, description="Yours; comes back with the answer.")] = None

    def to_post(self) -> Post:
        return Post(text=self.text, id=self.id)


class EvidenceOut(BaseModel):
    """A sentence that carries a label: `text[start:end]`, offsets in Unicode code points."""

    label: str
    start: int
    end: int
    weight: float


class PredictionOut(BaseModel):
    """`labels` are those at or above their thresholds, strongest first; `stance` is null where there is none."""

    id: str | None
    labels: list[str]
    probabilities: dict[str, float]
    stance: Literal["endorses", "reports", "refutes"] | None
    stance_probabilities: dict[str, float]
    evidence: list[EvidenceOut]
    language: str | None
    truncated: bool

    @classmethod
    def of(cls, prediction: Prediction) -> PredictionOut:
        return cls(
            id=prediction.post.id,
            labels=list(prediction.labels),
            probabilities=dict(prediction.probabilities),
            stance=prediction.stance,
            stance_probabilities=dict(prediction.stance_probabilities),
            evidence=[EvidenceOut(label=e.label, start=e.start, end=e.end, weight=e.weight) for e in prediction.evidence],
            language=prediction.language,
            truncated=prediction.truncated,
        )


class Answer(BaseModel):
    """One prediction for each post, in order."""

    model: str
    predictions: list[PredictionOut]


class LabelOut(BaseModel):
    id: str
    name: str
    definition: str
    threshold: float


class Labels(BaseModel):
    model: str
    labels: list[LabelOut]


class Health(BaseModel):
    status: Literal["ok", "failing"]
    model: str
    waiting_posts: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
