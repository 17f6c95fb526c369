"""`narratives report`: a scored file to a page that an editor reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from narratives.cli.options import ModelOption, out, say
from narratives.errors import ConfigError


def report(
    source: Annotated[Path, typer.Argument(metavar="SCORED", help="An output of `narratives score`: .parquet, .jsonl or .csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write, one HTML file.")],
    assets: Annotated[
        Path | None, typer.Option(help="Folder for the charts (SVG, PNG), the tables (CSV) and the network (GEXF for Gephi).")
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Two periods: 2023-10-06..2023-10-08,2023-10-09..2023-10-11, days in UTC, both included.")
    ] = None,
    model: ModelOption = None,
    language: Annotated[Literal["en", "ru", "kk"], typer.Option(help="Language of headings and of the labels' names.")] = "en",
) -> None:
    """Write a report on a scored dump: amplification, first posters, networks, repeated texts, with intervals.

    [bold]Example[/bold]

    narratives report out.parquet -o report.html --assets figures
    """
    from narratives.report.assets import save_assets
    from narratives.report.build import build
    from narratives.report.page import render

    if output.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"output {output.name!r}: unknown ending {output.suffix!r}; expected .html")
    made = build(source, model=model, periods=compare, language=language, on_progress=say)
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(output.name + ".tmp")
    scratch.write_text(render(made), encoding="utf-8")
    scratch.replace(output)
    n_flagged = len(made.dump.flagged)
    out.print(f"{made.dump.n_posts:,} posts, {n_flagged:,} flagged, {len(made.sections)} narratives", markup=False)
    out.print(f"page      {output}", markup=False)
    if assets is not None:
        out.print(f"assets    {assets}: {len(save_assets(made, assets))} files", markup=False)
