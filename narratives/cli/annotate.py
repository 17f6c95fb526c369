"""`narratives init`, `rank`, `suggest` and `check-labels`: from an idea of labels to annotated posts that can be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from narratives import plugins, taxonomy
from narratives.cli.options import err, ids, needs, out, printable, say
from narratives.errors import ConfigError

_Labels = Annotated[str, typer.Option("--labels", help="A taxonomy's name or TOML file.")]
_Format = Annotated[str, typer.Option(help=f"auto, or one of {', '.join(plugins.READERS)}.")]
_TextColumn = Annotated[str | None, typer.Option(help="Column with the text, where it has an unusual name.")]
_LabelColumn = Annotated[str | None, typer.Option(help="Column with the labels, where it has an unusual name.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


def init(
    path: Annotated[Path, typer.Argument(help="The taxonomy to start, such as mine.toml.")],
    labels: Annotated[str | None, typer.Option("--labels", help="Ids of labels to start with, commas between.")] = None,
) -> None:
    """Start a taxonomy: a TOML file to fill in. The better its definitions, the fewer posts need to be annotated."""
    if path.exists():
        raise ConfigError(f"{path} exists; choose another name")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no such folder {str(path.parent)!r}; make it first")
    path.write_text(taxonomy.template(path.stem, ids(labels) or ()), encoding="utf-8")
    out.print(f"written   {path}", markup=False)
    out.print(f"next      fill it in, then: narratives rank DUMP --labels {path}", markup=False)


def rank(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="Posts, in any form that `narratives score` reads.")],
    labels: _Labels,
    n: Annotated[int, typer.Option("-n", min=1, help="Posts of each label.")] = 10,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them for review: .parquet, .jsonl or .csv.")] = None,
    format: _Format = "auto",
    text_column: _TextColumn = None,
    overwrite: _Overwrite = False,
) -> None:
    """Zero-shot: the posts nearest to each label's definition, without one annotated post. A place to start reading, no measurement."""
    from narratives.readers import read_posts

    with needs("train"):
        from narratives.training import ranking
        from narratives.training.outputs import write_predictions

    chosen = taxonomy.load(labels)
    posts = ranking.read_dump(read_posts(dump, format=format, text_column=text_column))
    found = ranking.rank(posts, chosen, n=n, say=say)
    for label in chosen.ids:
        out.print(f"[bold]{label}[/bold]  zero-shot, by its definition alone")
        for one in (r for r in found if r.label == label):
            out.print(f"  {one.place:>3}  {one.nearness:+.1f} sd  {printable(one.post.text)[:120]}", markup=False)
    out.print("Zero-shot: an order to read in. Nobody measured how many of these carry the label.", markup=False)
    if output is not None:
        write_predictions(output, list(ranking.as_predictions(found, chosen)), chosen.ids, overwrite=overwrite)
        out.print(f"written   {output}", markup=False)


def suggest(
    dump: Annotated[Path, typer.Argument(metavar="DUMP", help="Posts, in any form that `narratives score` reads.")],
    labels: _Labels,
    output: Annotated[Path, typer.Option("--output", "-o", help="What to write, ready for the review page: .parquet, .jsonl or .csv.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many posts to suggest.")] = 200,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A bundle that knows the labels a little already; none: definitions alone.")
    ] = None,
    annotated: Annotated[
        Path | None, typer.Option(help="What is annotated already: it is not suggested again, and says which labels are rare.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn from a large dump.")] = 13,
    format: _Format = "auto",
    text_column: _TextColumn = None,
    overwrite: _Overwrite = False,
) -> None:
    """Which posts to annotate next: uncertain ones, likely ones of rare labels, and unusual ones, no two alike."""
    from collections import Counter

    from narratives import bundle as bundles
    from narratives.readers import read_posts

    with needs("train"):
        from narratives.training import ranking
        from narratives.training import suggest as suggesting
        from narratives.training.loaders import read_annotated
        from narratives.training.outputs import write_predictions

    chosen = taxonomy.load(labels)
    bundle = bundles.load(model) if model is not None else None
    known = read_annotated(annotated, chosen).posts if annotated is not None else []
    posts = ranking.read_dump(read_posts(dump, format=format, text_column=text_column))
    found = suggesting.suggest(posts, chosen, n, bundle=bundle, annotated=known, seed=seed, say=say)
    predictions = suggesting.as_predictions(found, posts, chosen, bundle=bundle)
    write_predictions(output, predictions, bundle.labels if bundle is not None else chosen.ids, overwrite=overwrite)
    why = Counter((s.why, s.label or "") for s in found)
    table = Table(title=f"{len(found)} posts to annotate, of {len(posts):,}", title_justify="left")
    for name in ("why", "label", "posts"):
        table.add_column(name, justify="right" if name == "posts" else "left")
    for (reason, label), count in sorted(why.items()):
        table.add_row(reason, label, str(count))
    out.print(table)
    if len(found) < n:
        out.print(f"fewer than {n}: the dump holds no more posts that differ enough", markup=False)
    out.print(f"written   {output}", markup=False)


def check_labels(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Annotated posts, in any form that `narratives train` reads.")],
    labels: _Labels = "kazakhstan",
    n: Annotated[int, typer.Option("-n", min=1, help="Findings of a kind to show.")] = 20,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all findings as JSON lines.")] = None,
    format: Annotated[str, typer.Option(help="auto, jsonl, csv, parquet, datasets, doccano, label-studio or argilla.")] = "auto",
    text_column: _TextColumn = None,
    label_column: _LabelColumn = None,
) -> None:
    """Look for likely label errors, near-duplicates labelled otherwise, and posts on both sides of a split. Each is a post to read
    again."""
    with needs("train"):
        from narratives.training.label_errors import as_rows
        from narratives.training.label_errors import check_labels as run_check
        from narratives.training.loaders import Columns, read_annotated

    chosen = taxonomy.load(labels)
    found = read_annotated(data, chosen, format=format, columns=Columns(text_column, label_column))
    report = run_check(found.posts, found.parts, chosen, say=say)

    def shown(row: int) -> str:
        post = found.posts[row]
        return escape(f"{printable(post.id or f'post {row + 1}')}: {printable(post.text)[:90]}")

    out.print(f"[bold]{len(report.doubts)} labels to read again[/bold], of {report.n_posts} posts", highlight=False)
    for doubt in report.doubts[:n]:
        what = "has" if doubt.has else "lacks"
        out.print(f"  {what} [bold]{doubt.label}[/bold], whose probability is {doubt.probability:.2f}  {shown(doubt.row)}")
    for title, pairs in (("near-duplicates labelled otherwise", report.contradictions), ("posts on both sides of a split", report.leaks)):
        out.print(f"[bold]{len(pairs)} {title}[/bold]")
        for pair in pairs[:n]:
            out.print(f"  {escape(pair.problem)}, {pair.shared:.0%} alike\n    {shown(pair.other)}\n    {shown(pair.row)}")
    if report.skipped:
        err.print(f"too few posts to doubt: {', '.join(report.skipped)}", markup=False)
    if output is not None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in as_rows(report, found.posts)]
        output.write_text("".join(lines), encoding="utf-8")
        out.print(f"written   {output}", markup=False)
