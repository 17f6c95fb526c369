"""`narratives export-runtime` and `narratives export-torch`: a bundle for elsewhere. `narratives convert`: rows in another format.

`narratives export`, which writes decisions of reviewers, is in `review.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from narratives import plugins
from narratives.cli.options import out, say

ModelArgument = Annotated[str | None, typer.Argument(help="A bundle's folder or name; without it, the one that is shipped.")]


def export_runtime(
    model: ModelArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("runtime"),
) -> None:
    """Write a bundle as a self-contained folder: graph, tokenizer, calibration, labels.

    It scores with `--model FOLDER`, needs neither the base model's package nor a cache folder, and gives the same probabilities.
    """
    from narratives.exports.runtime import export_runtime as run

    bundle = run(model, output, say=say)
    size = sum(file.stat().st_size for file in output.iterdir())
    out.print(f"{bundle.model_id}: {size / 2**20:.0f} MB in {output}", markup=False)


def export_torch(
    model: ModelArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("torch"),
) -> None:
    """Write a bundle's encoder as a folder that transformers' AutoModel loads, with heads and calibration beside it.

    Needs `pip install 'narratives\\[train]'`. The folder's README.md has the lines that use it.
    """
    from narratives.exports.torch_folder import export_torch as run

    out.print(f"encoder   {run(model, output, say=say)}", markup=False)


def convert(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A Parquet file that `narratives score` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; the ending chooses where --to does not.")],
    to: Annotated[str | None, typer.Option(help=f"One of {', '.join((*plugins.WRITERS, *plugins.EXPORTS))}.")] = None,
    flagged_only: Annotated[bool, typer.Option("--flagged-only", help="Leave out posts without a label.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write scored rows for another program: a spreadsheet, an annotation tool, a threat-intelligence platform.

    XLSX needs `pip install 'narratives\\[xlsx]'`.

    [bold]Examples[/bold]

    narratives convert out.parquet -o out.xlsx

    narratives convert out.parquet -o tasks.json --to label-studio --flagged-only
    """
    from narratives.exports.convert import convert as run

    n_rows, files = run(source, output, to=to, flagged_only=flagged_only, overwrite=overwrite)
    out.print(f"{n_rows:,} rows", markup=False)
    for file in files:
        out.print(f"written   {file}", markup=False)
