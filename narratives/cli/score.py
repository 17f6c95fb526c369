"""`narratives score`: a dump to labelled rows."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from narratives import plugins
from narratives.cli.options import BackendOption, LabelsOption, ModelOption, OperatingPointOption, err, ids, out, say
from narratives.config import ScoreConfig
from narratives.errors import ConfigError

if TYPE_CHECKING:
    from narratives.job import Summary


def score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="The dump: Telegram result.json, NDJSON, CSV, Parquet …; .gz and .zst too; or a folder of such files. Local, s3:// or gs://.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="What to write; the ending chooses: .parquet, .jsonl, .csv or .xlsx. Local, s3:// or gs://."),
    ],
    format: Annotated[str, typer.Option(help=f"auto, or one of {', '.join(plugins.READERS)}.")] = "auto",
    model: ModelOption = None,
    labels: LabelsOption = None,
    operating_point: OperatingPointOption = "balanced",
    evidence: Annotated[bool, typer.Option("--evidence/--no-evidence", help="Find the sentences that carry each label.")] = True,
    screen: Annotated[
        bool,
        typer.Option(
            "--screen/--no-screen", help="Drop posts that surely carry nothing before the encoder (`screened`): several times faster."
        ),
    ] = True,
    text_column: Annotated[str | None, typer.Option(help="Column or field with the text, where it has an unusual name.")] = None,
    backend: BackendOption = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; without it, all cores. Ray: CPUs of a worker; without it, 1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where an interrupted run of the same job stopped.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local: this process; ray: a Ray cluster, with the same rows. See docs/scaling.md.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Ray: a running cluster, auto or HOST:PORT; without it, one of this machine alone.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray: models at work at once; without it, as many as there is room for.")
    ] = None,
) -> None:
    """Score a dump and write labelled rows for review.

    Beside OUTPUT stand OUTPUT's .rejected.jsonl (records that could not be read, with place and reason) and .manifest.json
    (counts, digests, settings). A run that was interrupted, however it ended, goes on with the same command.
    XLSX needs `pip install 'narratives\\[xlsx]'`.

    [bold]Examples[/bold]

    narratives score result.json -o out.parquet

    narratives score posts.csv.gz -o out.csv --text-column body --labels us_nato_conflation,us_biolabs
    """
    from narratives import job
    from narratives.scorer import Scorer

    runs = job.here
    if engine == "ray":
        from narratives.distributed import RayEngine

        runs = RayEngine(address=address, workers=workers, threads=threads or 1)
    elif address is not None or workers is not None:
        raise ConfigError("--address and --workers are for --engine ray")
    config = ScoreConfig(
        backend=backend, threads=threads, evidence=evidence, labels=ids(labels), operating_point=operating_point, screen=screen
    )
    scorer = Scorer.from_pretrained(model, config=config, on_progress=say)
    with _score_progress() as tell:
        summary = job.run(
            source,
            output,
            scorer,
            format=format,
            text_column=text_column,
            resume=resume,
            overwrite=overwrite,
            on_progress=tell,
            engine=runs,
        )
    _print_summary(summary, scorer.labels)


@contextlib.contextmanager
def _score_progress() -> Iterator[Any]:
    """A live bar on a terminal; where output is piped, a plain line every thirty seconds at most."""
    import time

    if not err.is_terminal:
        last = time.monotonic()

        def plain(progress: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= 30:
                last = time.monotonic()
                err.print(f"{progress.counts.n_posts} posts, {progress.counts.n_flagged} flagged", markup=False)

        yield plain
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("scoring"),
        BarColumn(),
        TextColumn("{task.fields[n_posts]:,} posts  {task.fields[rate]:.0f}/s  {task.fields[flagged]:.1%} flagged"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    task = bar.add_task("score", total=None, n_posts=0, rate=0.0, flagged=0.0)
    started = time.monotonic()
    first: list[int] = []

    def tell(progress: Any) -> None:
        counts = progress.counts
        first.append(counts.n_posts) if not first else None
        seconds = max(1e-9, time.monotonic() - started)
        done = counts.n_posts if progress.share is not None else counts.n_posts - first[0]
        bar.update(
            task,
            total=1.0 if progress.share is not None else None,
            completed=progress.share or 0,
            n_posts=counts.n_posts,
            rate=done / seconds,
            flagged=counts.n_flagged / max(1, counts.n_posts),
        )

    with bar:
        yield tell


def _print_summary(summary: Summary, labels: tuple[str, ...]) -> None:
    counts = summary.counts
    n_posts = max(1, counts.n_posts)
    table = Table(title=f"{counts.n_posts:,} posts, {counts.n_flagged:,} flagged ({counts.n_flagged / n_posts:.1%})", title_justify="left")
    table.add_column("label")
    table.add_column("posts", justify="right")
    table.add_column("share", justify="right")
    found: Counter[str] = counts.labels or Counter()
    for label in sorted(labels, key=lambda i: (-found.get(i, 0), labels.index(i))):
        table.add_row(label, f"{found.get(label, 0):,}", f"{found.get(label, 0) / n_posts:.2%}")
    out.print(table)
    for what, values in (("stance of flagged posts", counts.stances), ("language", counts.languages)):
        if values:
            out.print(f"{what}: " + ", ".join(f"{name} {n:,}" for name, n in values.most_common()), markup=False)
    if counts.n_rejected or counts.n_notes:
        out.print(f"not readable: {counts.n_rejected:,} records; {counts.n_notes:,} posts kept with a field left unknown", markup=False)
    if summary.already_done:
        out.print("this very job was done before; --overwrite does it again")
    else:
        resumed = f", {summary.n_resumed:,} posts from an earlier run" if summary.n_resumed else ""
        out.print(f"{summary.seconds:.1f} s, {summary.posts_per_second:.0f} posts/s{resumed}", markup=False)
    for what, location in (
        ("rows", summary.outputs.output),
        ("rejected", summary.outputs.rejected),
        ("manifest", summary.outputs.manifest),
    ):
        out.print(f"{what:9} {location}", markup=False)
