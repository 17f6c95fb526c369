"""What several commands share: options with one wording each, the two consoles, and how a line is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Literal

import typer
from rich.console import Console

from narratives.config import OperatingPoint
from narratives.errors import MissingDependency, NarrativesError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="A bundle's folder or name; without it, the one that is shipped.")]
BackendOption = Annotated[
    Literal["auto", "openvino", "onnx", "torch", "linear"], typer.Option(help="Inference engine; auto takes the fastest exact enough.")
]
OperatingPointOption = Annotated[
    OperatingPoint, typer.Option(help="Thresholds: balanced; high_precision for few false alarms; high_recall to miss little.")
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Flag only these labels: ids with commas between, as `narratives labels` lists them.")
]


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around a command's imports: a package of this extra that is not installed is told with what to install.

    Raises:
        MissingDependency: one is missing.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error, NarrativesError):
            raise
        raise MissingDependency(error.name or extra, extra) from error


def say(message: str) -> None:
    """A line of progress, to standard error. It may hold a name from a dump: no escape code of it reaches the terminal."""
    err.print(printable(message), markup=False)


def printable(text: str) -> str:
    """Text of a post without line breaks and terminal escape codes."""
    return "".join(c if c.isprintable() else " " for c in text)


def ids(text: str | None) -> tuple[str, ...] | None:
    """Label ids of an option, with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text is not None else None
