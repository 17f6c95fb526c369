"""`narratives predict` and `narratives labels`: single posts, and what labels mean."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated, Literal

import typer
from rich.markup import escape

from narratives import taxonomy
from narratives.cli.options import BackendOption, ModelOption, OperatingPointOption, out, printable, say
from narratives.config import ScoreConfig


def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more posts, each in quotes; - reads one from standard input.")],
    model: ModelOption = None,
    operating_point: OperatingPointOption = "balanced",
    backend: BackendOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a post.")] = False,
) -> None:
    """Score a text given on the command line.

    [bold]Example[/bold]

    narratives predict "В Алматы открыли новую станцию метро"
    """
    from narratives.scorer import Scorer

    scorer = Scorer.from_pretrained(model, config=ScoreConfig(backend=backend, operating_point=operating_point), on_progress=say)
    texts = [sys.stdin.read() if text == "-" else text for text in texts]
    for prediction in scorer.predict(texts):
        if as_json:
            values = dataclasses.asdict(prediction)
            values["post"] = {"text": prediction.post.text}
            typer.echo(json.dumps(values, ensure_ascii=False))
            continue
        found = ", ".join(f"{i} {prediction.probabilities[i]:.2f}" for i in prediction.labels) or "no narrative"
        top = max(prediction.probabilities, key=lambda i: prediction.probabilities[i])
        rest = "" if prediction.labels else f" (most probable: {top} {prediction.probabilities[top]:.2f})"
        stance = f"; {prediction.stance} {prediction.stance_probabilities[prediction.stance]:.2f}" if prediction.stance else ""
        out.print(f"{found}{stance}{rest} [{prediction.language}]", markup=False)
        for item in prediction.evidence:
            out.print(f"  {item.label} {item.weight:.2f}: {printable(prediction.post.text[item.start : item.end])}", markup=False)


def labels(
    model: ModelOption = None,
    taxonomy_file: Annotated[str | None, typer.Option("--taxonomy", help="A taxonomy's name or TOML file instead of a bundle's.")] = None,
    language: Annotated[Literal["en", "ru", "kk"], typer.Option(help="Language of names and definitions.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the labels with their definitions."""
    from narratives import bundle

    chosen = taxonomy.load(taxonomy_file or "kazakhstan") if taxonomy_file or model is None else bundle.load(model).taxonomy
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(label) for label in chosen], ensure_ascii=False))
        return
    for label in chosen:
        out.print(f"[bold]{label.id}[/bold]  {escape(label.name(language))}")
        out.print(f"    {label.definition(language)}", markup=False)
        if text := label.not_this.get(language):
            out.print(f"    {_NOT[language]}: {text}", markup=False)


_NOT = {"en": "not", "ru": "не относится", "kk": "жатпайды"}
