"""`narratives review` and `narratives export`: people decide, and their decisions become training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from narratives.cli.options import out
from narratives.errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from narratives.review.carry import Carried


def review(
    scored: Annotated[Path, typer.Argument(metavar="SCORED", help="An output of `narratives score`: .parquet, .jsonl or .csv.")],
    reviewer: Annotated[str, typer.Option(help="Your name; without it, the page asks.")] = "",
    language: Annotated[Literal["en", "ru", "kk"], typer.Option(help="Language of the page; it can be changed there.")] = "en",
    decisions: Annotated[
        Path | None, typer.Option(help="File of decisions; without it, SCORED's .decisions.sqlite. Several reviewers may share one.")
    ] = None,
    taxonomy: Annotated[str | None, typer.Option(help="Where labels are defined: a taxonomy's name or TOML file.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")] = False,
) -> None:
    """Read what was flagged, and confirm or correct it, on a page of this machine.

    Nothing leaves the machine and nothing is fetched. Each decision is written at once; stop with Ctrl+C and go on whenever you like.

    [bold]Example[/bold]

    narratives review out.parquet --reviewer Aigerim
    """
    try:
        from narratives.review.server import serve
    except ImportError as error:
        raise MissingDependency(error.name or "starlette", "review") from error

    def tell(link: str, kept: Path, carried: Carried) -> None:
        out.print(f"open {link}", markup=False)
        out.print(f"decisions are kept in {kept}; stop with Ctrl+C", markup=False)
        if carried.n_posts:
            out.print(f"decided posts taken over from another version of {scored.name}: {carried.n_posts:,}", markup=False)
        if carried.n_left:
            left = {"not in it any more": carried.n_gone, "with another text": carried.n_edited, "with a label it lacks": carried.n_labels}
            why = ", ".join(f"{n:,} {why}" for why, n in left.items() if n)
            out.print(f"decided posts not shown: {why}; `narratives export` writes them too", markup=False)
        if browser:
            import webbrowser

            webbrowser.open(link)

    serve(scored, decisions=decisions, taxonomy=taxonomy, port=port, reviewer=reviewer, language=language, on_ready=tell)


def export(
    decisions: Annotated[Path, typer.Argument(metavar="DECISIONS", help="The .decisions.sqlite that `narratives review` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="What to write: JSON lines, as `narratives train --data` takes them.")],
    copies: Annotated[bool, typer.Option("--copies/--no-copies", help="Also write the reposts of a reviewed post.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Export the decisions made on the review page: reviewed posts, as training data.

    Posts on which reviewers disagree are left out until somebody settles them on the page. Models are exported by
    `export-runtime` and `export-torch`, scored rows by `convert`.

    [bold]Example[/bold]

    narratives export out.decisions.sqlite -o corrected.jsonl
    """
    if output.suffix not in {".jsonl", ".ndjson"}:
        raise ConfigError(f"output {output.name!r}: unknown ending {output.suffix!r}; known: .jsonl, .ndjson")
    from narratives.review.export import export as run

    done = run(decisions, output, copies=copies, overwrite=overwrite)
    out.print(f"{done.n_posts:,} posts, {done.n_corrected:,} of them corrected", markup=False)
    left = [(done.n_copies, "reposts of these"), (done.n_disagreements, "in dispute"), (done.n_open, "skipped or only noted")]
    if any(n for n, _ in left):
        out.print("left out: " + ", ".join(f"{n:,} {why}" for n, why in left if n), markup=False)
    out.print(f"rows      {output}", markup=False)
