"""`narratives compare`: is the second bundle better than the first, and where?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from narratives.cli.options import OperatingPointOption, needs, out, printable
from narratives.config import ScoreConfig

_COLOURS = {"better": "green", "worse": "red"}


def compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A bundle's folder or name.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The bundle to compare it with.")],
    data: Annotated[str, typer.Option(help="Annotated posts, in any form that `narratives train` reads.")] = "data/posts",
    part: Annotated[
        Literal["test", "validation", "train", "all"],
        typer.Option(help="Which part of the split of FIRST; all: every post, for other data."),
    ] = "test",
    operating_point: OperatingPointOption = "balanced",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all of it as JSON.")] = None,
    examples: Annotated[int, typer.Option(min=0, max=5, help="Posts to show of each label and side.")] = 2,
) -> None:
    """Compare two bundles on the same posts: paired differences with 95% intervals by label and language, and what changed sides."""
    from narratives import bundle as bundles

    with needs("train"):
        from narratives.training.compare import compare as run_compare
        from narratives.training.journeys import part_of_data
        from narratives.training.loaders import read_annotated

    one, two = bundles.load(first), bundles.load(second)
    posts = part_of_data(read_annotated(data, one.taxonomy), one, part)
    found = run_compare(one, two, posts, config=ScoreConfig(evidence=False, operating_point=operating_point))
    table = Table(title=f"{found.n_posts} posts ({part}): {found.first} and {found.second}", title_justify="left")
    for name in ("", "n", "first", "second", "difference [95%]", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in found.rows:
        name = row.name if row.what == "label" else f"{row.name}: {row.what}"
        verdict = f"[{_COLOURS[row.verdict]}]{row.verdict}[/]" if row.verdict in _COLOURS else ""
        table.add_row(name, str(row.n_posts), f"{row.first.value:.3f}", f"{row.second.value:.3f}", escape(str(row.difference)), verdict)
    out.print(table)
    for label, counts in found.n_changes.items():
        if not counts["mended"] and not counts["broken"]:
            continue
        out.print(f"[bold]{label}[/bold]  changed sides: {counts['mended']} mended, {counts['broken']} broken")
        for mended in (True, False):
            for change in [c for c in found.changes if c.label == label and c.mended == mended][:examples]:
                what = "mended" if mended else "broken"
                text = printable(change.post.text)[:100]
                out.print(
                    f"  {what}: {'flagged' if change.now else 'not flagged'} now, {change.first:.2f} to {change.second:.2f}  {text}",
                    markup=False,
                )
    if output is not None:
        output.write_text(json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        out.print(f"written   {output}", markup=False)
