"""The command line: a command is one function in a file of this folder and one line here. Nothing is computed in it.

Heavy imports stand inside the commands, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from narratives.cli import annotate, compare, corpus, export, predict, report, review, score, serve, train
from narratives.cli.options import err, printable
from narratives.errors import NarrativesError

app = typer.Typer(
    name="narratives",
    help="Find disinformation narratives in Russian and Kazakh posts. It triages; people judge.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A bug shows Python's own traceback, whole and plain, fit for a report.
    pretty_exceptions_enable=False,
)
app.command()(score.score)
app.command()(report.report)
app.command()(predict.predict)
app.command()(predict.labels)
app.command()(serve.serve)
app.command()(export.convert)
app.command()(export.export_runtime)
app.command()(export.export_torch)
app.command()(train.train)
app.command()(train.evaluate)
app.command()(annotate.init)
app.command()(annotate.rank)
app.command()(annotate.suggest)
app.command("check-labels")(annotate.check_labels)
app.command()(compare.compare)
app.command()(review.review)
app.command()(review.export)

corpus_app = typer.Typer(help="Look after an annotated corpus.", no_args_is_help=True)
corpus_app.command("check")(corpus.check)
app.add_typer(corpus_app, name="corpus")


def main() -> None:
    """Entry point: errors made by the user are one line and exit code 2; any other exception is a bug and shows itself."""
    try:
        app()
    except NarrativesError as error:
        # It may hold a name from a dump: no escape code of it reaches the terminal.
        err.print(f"narratives: {printable(str(error))}", style="red" if err.is_terminal else None, markup=False)
        raise SystemExit(2) from None


def _version(value: bool) -> None:
    if value:
        typer.echo(f"narratives {importlib.metadata.version('narratives')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    pass
