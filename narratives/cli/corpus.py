"""`narratives corpus …`: looking after annotated posts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from narratives import taxonomy
from narratives.cli.options import err, out
from narratives.errors import ConfigError


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of *.jsonl.")] = Path("data/posts"),
    labels: Annotated[str, typer.Option(help="A taxonomy's name or TOML file.")] = "kazakhstan",
    readings: Annotated[Path | None, typer.Option(help="Second readings (JSON lines): also say how far readers agree.")] = None,
) -> None:
    """Check an annotated corpus: fields, ids, labels, stances, copies, near-copies across groups; count what is there."""
    from narratives.agreement import read_agreement
    from narratives.training.corpus import check_corpus

    chosen = taxonomy.load(labels)
    report = check_corpus(folder, chosen)
    languages = sorted(report.languages)
    title = f"{report.n_posts} posts in {report.n_groups} groups; {report.n_unlabelled} without a label, "
    table = Table(title=f"{title}{report.n_multi_label} with two or more", title_justify="left")
    table.add_column("label")
    for name in ("all", *languages):
        table.add_column(name, justify="right")
    for label in chosen.ids:
        table.add_row(label, str(report.labels[label]), *(str(report.label_languages[label, lang]) for lang in languages))
    table.add_row("(posts)", str(report.n_posts), *(str(report.languages[lang]) for lang in languages))
    out.print(table)
    for what, counter in (("stances", report.stances), ("registers", report.registers)):
        out.print(f"{what}: " + ", ".join(f"{name} {n}" for name, n in counter.most_common()), markup=False)
    if readings is not None:
        found = read_agreement(readings, chosen)
        out.print(f"read twice: {found.n_posts} posts, {found.n_same} alike; Krippendorff's alpha:")
        for name, alpha in (*found.labels.items(), ("stance", found.stance)):
            out.print(f"  {name} {'-' if alpha is None else format(alpha, '.2f')}", markup=False)
    for problem in report.problems:
        err.print(problem, markup=False)
    if report.problems:
        raise ConfigError(f"{len(report.problems)} problems in {folder}, listed above")
    out.print("no problems")
