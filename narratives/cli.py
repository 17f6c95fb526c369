"""The command line: one parser and one call per command. Nothing is computed here.

Heavy imports stand inside the commands, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from narratives import plugins, taxonomy
from narratives.config import OperatingPoint, ScoreConfig, TrainConfig
from narratives.errors import ConfigError, NarrativesError

if TYPE_CHECKING:
    from rich.progress import Progress

    from narratives.job import Summary

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
corpus_app = typer.Typer(help="Look after an annotated corpus.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

_DEFAULTS = TrainConfig()

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


def main() -> None:
    """Entry point: errors made by the user are one line and exit code 2; any other exception is a bug and shows itself."""
    try:
        app()
    except NarrativesError as error:
        _err.print(f"narratives: {error}", style="red" if _err.is_terminal else None, markup=False)
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


# ---- score -----------------------------------------------------------------------------------------------------------


@app.command()
def score(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="The dump: Telegram result.json, NDJSON, CSV, Parquet …; .gz and .zst too.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="What to write; the ending chooses: .parquet, .jsonl or .csv.")],
    format: Annotated[str, typer.Option(help=f"auto, or one of {', '.join(plugins.READERS)}.")] = "auto",
    model: ModelOption = None,
    labels: LabelsOption = None,
    operating_point: OperatingPointOption = "balanced",
    evidence: Annotated[bool, typer.Option("--evidence/--no-evidence", help="Find the sentences that carry each label.")] = True,
    screen: Annotated[
        bool, typer.Option("--screen/--no-screen", help="Drop posts that surely carry nothing before the encoder: several times faster.")
    ] = True,
    text_column: Annotated[str | None, typer.Option(help="Column or field with the text, where it has an unusual name.")] = None,
    backend: BackendOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; without it, all cores.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where an interrupted run of the same job stopped.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Score a dump and write labelled rows for review.

    Beside OUTPUT stand OUTPUT's .rejected.jsonl (records that could not be read, with place and reason) and .manifest.json
    (counts, digests, settings). A run that was interrupted, however it ended, goes on with the same command.

    [bold]Examples[/bold]

    narratives score result.json -o out.parquet

    narratives score posts.csv.gz -o out.csv --text-column body --labels us_nato_conflation,us_biolabs
    """
    from narratives import job
    from narratives.scorer import Scorer

    config = ScoreConfig(
        backend=backend, threads=threads, evidence=evidence, labels=_ids(labels), operating_point=operating_point, screen=screen
    )
    scorer = Scorer.from_pretrained(model, config=config, on_progress=_say)
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
        )
    _print_summary(summary, scorer.labels)


@contextlib.contextmanager
def _score_progress() -> Iterator[Any]:
    """A live bar on a terminal; where output is piped, a plain line every thirty seconds at most."""
    import time

    if not _err.is_terminal:
        last = time.monotonic()

        def plain(progress: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= 30:
                last = time.monotonic()
                _err.print(f"{progress.counts.n_posts} posts, {progress.counts.n_flagged} flagged", markup=False)

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
        console=_err,
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
    _out.print(table)
    for what, values in (("stance of flagged posts", counts.stances), ("language", counts.languages)):
        if values:
            _out.print(f"{what}: " + ", ".join(f"{name} {n:,}" for name, n in values.most_common()), markup=False)
    if counts.n_rejected or counts.n_notes:
        _out.print(f"not readable: {counts.n_rejected:,} records; {counts.n_notes:,} posts kept with a field left unknown", markup=False)
    if summary.already_done:
        _out.print("this very job was done before; --overwrite does it again")
    else:
        resumed = f", {summary.n_resumed:,} posts from an earlier run" if summary.n_resumed else ""
        _out.print(f"{summary.seconds:.1f} s, {summary.posts_per_second:.0f} posts/s{resumed}", markup=False)
    for what, path in (("rows", summary.outputs.output), ("rejected", summary.outputs.rejected), ("manifest", summary.outputs.manifest)):
        _out.print(f"{what:9} {path}", markup=False)


# ---- predict, labels ---------------------------------------------------------------------------------------------------


@app.command()
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

    scorer = Scorer.from_pretrained(model, config=ScoreConfig(backend=backend, operating_point=operating_point), on_progress=_say)
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
        _out.print(f"{found}{stance}{rest} [{prediction.language}]", markup=False)
        for item in prediction.evidence:
            _out.print(f"  {item.label} {item.weight:.2f}: {_printable(prediction.post.text[item.start : item.end])}", markup=False)


@app.command()
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
        _out.print(f"[bold]{label.id}[/bold]  {_escape(label.name(language))}")
        _out.print(f"    {label.definition(language)}", markup=False)
        if text := label.not_this.get(language):
            _out.print(f"    {_NOT[language]}: {text}", markup=False)


_NOT = {"en": "not", "ru": "не относится", "kk": "жатпайды"}


# ---- train, evaluate, corpus -------------------------------------------------------------------------------------------


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Annotated posts: a file, or a folder of *.jsonl.")] = Path("data/posts"),
    labels: Annotated[str, typer.Option(help="A taxonomy's name or TOML file.")] = "kazakhstan",
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")] = Path("models/kazakhstan-e5-small"),
    base_model: Annotated[
        str, typer.Option(help="multilingual-e5-small (shipped), any transformers id or folder, or linear (TF-IDF).")
    ] = _DEFAULTS.base_model,
    seed: Annotated[int, typer.Option(help="Of everything random but the test part, which is fixed.")] = _DEFAULTS.seed,
    epochs: Annotated[int, typer.Option(min=1, help="At most; early stopping usually ends before.")] = _DEFAULTS.epochs,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of TrainConfig, e.g. learning_rate=3e-5.")
    ] = None,
    background: Annotated[
        list[Path] | None, typer.Option(help="A dump of ordinary real posts, to train on as posts without a label; may be repeated.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text, where it has an unusual name.")] = None,
) -> None:
    """Train a bundle: split by event, fit, calibrate, measure, write the model card.

    Needs `pip install 'narratives[train]'`. Interrupted, the same command goes on from the last whole epoch.
    """
    from narratives.training.corpus import read_corpus
    from narratives.training.metrics import summary_lines
    from narratives.training.train import train as run_training

    values: dict[str, object] = {"base_model": base_model, "seed": seed, "epochs": epochs, **_settings(set_ or [])}
    config = TrainConfig.from_dict(values)
    chosen = taxonomy.load(labels)
    text = Path(labels).read_text(encoding="utf-8") if Path(labels).is_file() else taxonomy.shipped_text(labels)
    posts = read_corpus(data, chosen, text_column=text_column)
    changed = [f"--{k.replace('_', '-')} {v}" for k, v in values.items() if k in _OWN_OPTIONS and v != getattr(_DEFAULTS, k)]
    command = " ".join(
        ["narratives train", f"--data {data}", f"--labels {labels}", f"-o {output}", *changed, *(f"--set {s}" for s in set_ or []),
         *(f"--background {path.parent.name}/{path.name}" for path in background or [])]
    )  # fmt: skip
    with _train_progress() as tell:
        bundle = run_training(
            posts, chosen, text, output, config=config, background=background or (), command=command, on_progress=tell, say=_say
        )
    for line in summary_lines(bundle.metrics["test"]):
        _out.print(line, markup=False)
    _out.print(f"bundle    {output}", markup=False)


_OWN_OPTIONS = frozenset({"base_model", "seed", "epochs"})


@contextlib.contextmanager
def _train_progress() -> Iterator[Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar: Progress = Progress(
        TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeElapsedColumn(), TextColumn("left at most"),
        TimeRemainingColumn(), console=_err, transient=True, disable=not _err.is_terminal,
    )  # fmt: skip
    task = bar.add_task("train", total=None)

    def tell(progress: Any) -> None:
        bar.update(task, total=progress.n_steps, completed=progress.step)
        if (epoch := progress.epoch) is not None:
            figures = f"macro-F1 {epoch.macro_f1:.3f}, average precision {epoch.average_precision:.3f}, stance {epoch.stance_accuracy:.3f}"
            _say(f"epoch {epoch.number}: loss {epoch.loss:.4f}; validation: {figures}")

    with bar:
        yield tell


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Annotated posts: a file, or a folder of *.jsonl.")] = Path("data/posts"),
    part: Annotated[
        Literal["test", "validation", "train", "all"], typer.Option(help="Which part of the split; all: every post, for other data.")
    ] = "test",
    model: ModelOption = None,
    operating_point: OperatingPointOption = "balanced",
    backend: BackendOption = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all figures as JSON.")] = None,
    card: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the figures in the bundle's metrics and card as those of set NAME.")
    ] = None,
) -> None:
    """Measure a bundle on annotated posts, with 95% intervals."""
    from narratives.scorer import Scorer
    from narratives.training.corpus import read_corpus, split_corpus
    from narratives.training.metrics import Figure, summary_lines
    from narratives.training.train import measure

    scorer = Scorer.from_pretrained(
        model, config=ScoreConfig(backend=backend, evidence=False, operating_point=operating_point), on_progress=_say
    )
    posts = read_corpus(data, scorer.taxonomy)
    if part != "all":
        config = scorer.bundle.train_config
        posts = split_corpus(posts, scorer.taxonomy, validation_share=config.validation_share, seed=config.seed).part(part)
    figures = measure(scorer, posts)
    table = Table(title=f"{scorer.bundle.model_id} on {len(posts)} posts ({part})", title_justify="left")
    for name in ("label", "n", "precision", "recall", "F1 [95%]"):
        table.add_column(name, justify="left" if name == "label" else "right")
    by_label: dict[str, Any] = {**figures["by_label"], **figures["by_stance"]}  # type: ignore[dict-item]  # both are dicts
    for name, one in by_label.items():
        cells = ["–" if one[k] is None else f"{one[k]:.2f}" for k in ("precision", "recall")]
        table.add_row(name, str(one["n_positive"]), *cells, str(Figure(**one["f1"])) if one["f1"] else "–")
    _out.print(table)
    for line in summary_lines(figures):
        _out.print(line, markup=False)
    if output is not None:
        output.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if card is not None:
        from narratives.training.card import add_to_card

        add_to_card(scorer.bundle, "other_sets", {card: figures})


@corpus_app.command("check")
def corpus_check(
    folder: Annotated[Path, typer.Argument(help="Folder of *.jsonl.")] = Path("data/posts"),
    labels: Annotated[str, typer.Option(help="A taxonomy's name or TOML file.")] = "kazakhstan",
    readings: Annotated[Path | None, typer.Option(help="Second readings (JSON lines): also say how far readers agree.")] = None,
) -> None:
    """Check an annotated corpus: fields, ids, labels, stances, copies, near-copies across groups; count what is there."""
    from narratives.training.agreement import read_agreement
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
    _out.print(table)
    for what, counter in (("stances", report.stances), ("registers", report.registers)):
        _out.print(f"{what}: " + ", ".join(f"{name} {n}" for name, n in counter.most_common()), markup=False)
    if readings is not None:
        found = read_agreement(readings, chosen)
        _out.print(f"read twice: {found.n_posts} posts, {found.n_same} alike; Krippendorff's alpha:")
        for name, alpha in (*found.labels.items(), ("stance", found.stance)):
            _out.print(f"  {name} {'-' if alpha is None else format(alpha, '.2f')}", markup=False)
    for problem in report.problems:
        _err.print(problem, markup=False)
    if report.problems:
        raise ConfigError(f"{len(report.problems)} problems in {folder}, listed above")
    _out.print("no problems")


# ---- small things ------------------------------------------------------------------------------------------------------


def _say(message: str) -> None:
    _err.print(message, markup=False)


def _ids(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text is not None else None


_SWITCHES = {"true": True, "false": False}


def _settings(pairs: list[str]) -> dict[str, object]:
    """NAME=VALUE pairs, each value in the type of its setting's default."""
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        default = getattr(_DEFAULTS, name) if name in TrainConfig.__dataclass_fields__ else None
        if not equals or default is None:
            raise ConfigError(f"--set {pair!r}: expected NAME=VALUE with NAME out of {', '.join(TrainConfig.__dataclass_fields__)}")
        try:
            values[name] = _SWITCHES[text.lower()] if isinstance(default, bool) else type(default)(text)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"--set {pair!r}: expected a value like {default!r}") from error
    return values


def _printable(text: str) -> str:
    """Text of a post without line breaks and terminal escape codes."""
    return "".join(c if c.isprintable() else " " for c in text)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
