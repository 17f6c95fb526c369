"""`narratives train` and `narratives evaluate`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from narratives.cli.options import BackendOption, ModelOption, OperatingPointOption, err, needs, out, say
from narratives.config import ScoreConfig, TrainConfig
from narratives.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

_DEFAULTS = TrainConfig()
_DATA, _LABELS, _SHIPPED = "data/posts", "kazakhstan", Path("models/kazakhstan-e5-small")


def train(
    data: Annotated[
        str,
        typer.Option(
            help="Annotated posts: JSONL, CSV, Parquet, a `datasets` folder or id, doccano, Label Studio, Argilla; or a folder of *.jsonl."
        ),
    ] = _DATA,
    labels: Annotated[str, typer.Option(help="A taxonomy's name or TOML file; `narratives init` starts one.")] = _LABELS,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle's folder; only the shipped posts and labels need none.")
    ] = None,
    budget: Annotated[
        Literal["auto", "fast", "standard", "thorough"],
        typer.Option(
            help="fast: the encoder stays as it is (see docs/retraining.md for minutes). standard: top layers are tuned. thorough: all "
            "layers. auto: the whole journey by events for a corpus of 1,000 posts with groups, else fast."
        ),
    ] = "auto",
    start: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Keep this bundle's labels as they are, and add those that it lacks.")
    ] = None,
    single_label: Annotated[
        bool, typer.Option("--single-label", help="A post has one label at most (or single_label = true in the taxonomy).")
    ] = False,
    format: Annotated[str, typer.Option(help="auto, jsonl, csv, parquet, datasets, doccano, label-studio or argilla.")] = "auto",
    base_model: Annotated[
        str, typer.Option(help="multilingual-e5-small (shipped), any transformers id or folder, or linear (TF-IDF).")
    ] = _DEFAULTS.base_model,
    seed: Annotated[int, typer.Option(help="Of everything random but the test part, which is fixed.")] = _DEFAULTS.seed,
    epochs: Annotated[
        int | None, typer.Option(min=1, help=f"At most; early stopping usually ends before. {_DEFAULTS.epochs}, or what the budget says.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of TrainConfig, e.g. learning_rate=3e-5.")
    ] = None,
    background: Annotated[
        list[Path] | None, typer.Option(help="A dump of ordinary real posts, to train on as posts without a label; may be repeated.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text, where it has an unusual name.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the labels, where it has an unusual name.")] = None,
) -> None:
    """Train a bundle: split, fit, calibrate, measure, write the model card.

    Needs `pip install 'narratives\\[train]'`. Eight posts a label are enough to start; definitions in the taxonomy help most then.

    [bold]Examples[/bold]

    narratives train --data mine.jsonl --labels mine.toml -o models/mine

    narratives train --data more.csv --labels more.toml --from models/mine -o models/mine-2
    """
    from narratives import bundle as bundles

    with needs("train"):
        from narratives.training.journeys import by_labels, choose
        from narratives.training.loaders import Columns, read_annotated
        from narratives.training.metrics import summary_lines
        from narratives.training.train import train as run_training

    values: dict[str, object] = {"base_model": base_model, "seed": seed, **_settings(set_ or [])}
    if epochs is not None:
        values = {"epochs": epochs, **values}
    if output is None and (data, labels, base_model, budget, start) != (_DATA, _LABELS, _DEFAULTS.base_model, "auto", None):
        raise ConfigError(f"-o is missing; expected the new bundle's folder: without it, {_SHIPPED}, which is shipped, would be replaced")
    output = output or _SHIPPED
    chosen, text = by_labels(labels, single_label=single_label)
    found = read_annotated(data, chosen, format=format, columns=Columns(text_column, label_column))
    own = {"base_model": base_model, "seed": seed, "epochs": epochs}
    changed = [f"--{k.replace('_', '-')} {v}" for k, v in own.items() if v is not None and (k == "epochs" or v != getattr(_DEFAULTS, k))]
    if budget != "auto":
        changed.append(f"--budget {budget}")
    if start is not None:
        changed.append(f"--from {start}")
    command = " ".join(
        ["narratives train", f"--data {data}", f"--labels {labels}", f"-o {output}", *changed, *(f"--set {s}" for s in set_ or []),
         *(f"--background {path.parent.name}/{path.name}" for path in background or [])]
    )  # fmt: skip
    if found.n_without_annotation:
        say(f"{found.n_without_annotation} rows were not annotated and are left out")
    plan = choose(found, chosen, values, budget=budget, has_start=start is not None, has_background=bool(background))
    with _train_progress() as tell:
        if plan.by_events:
            bundle = run_training(
                found.posts,
                chosen,
                text,
                output,
                config=plan.config,
                background=background or (),
                split=plan.split,
                command=command,
                on_progress=tell,
                say=say,
            )
            figures = bundle.metrics["test"]
        else:
            with needs("train"):
                from narratives.training.newlabels import train_labels

            bundle = train_labels(
                found.posts,
                found.parts,
                chosen,
                output,
                budget=plan.budget,
                config=plan.config,
                start=bundles.load(start) if start is not None else None,
                command=command,
                on_progress=tell,
                say=say,
            )
            figures = bundle.metrics["new_labels"]["figures"]
            out.print(f"measured on {bundle.metrics['new_labels']['measured_on']}:", markup=False)
    for line in summary_lines(figures):
        out.print(line, markup=False)
    out.print(f"bundle    {output}", markup=False)


@contextlib.contextmanager
def _train_progress() -> Iterator[Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar: Progress = Progress(
        TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeElapsedColumn(), TextColumn("left at most"),
        TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal,
    )  # fmt: skip
    task = bar.add_task("train", total=None)

    def tell(progress: Any) -> None:
        bar.update(task, total=progress.n_steps, completed=progress.step)
        if (epoch := progress.epoch) is not None:
            figures = f"macro-F1 {epoch.macro_f1:.3f}, average precision {epoch.average_precision:.3f}, stance {epoch.stance_accuracy:.3f}"
            say(f"epoch {epoch.number}: loss {epoch.loss:.4f}; validation: {figures}")

    with bar:
        yield tell


def evaluate(
    data: Annotated[str, typer.Option(help="Annotated posts, in any form that `narratives train` reads.")] = "data/posts",
    part: Annotated[
        Literal["test", "validation", "train", "all"], typer.Option(help="Which part of the split; all: every post, for other data.")
    ] = "test",
    model: ModelOption = None,
    operating_point: OperatingPointOption = "balanced",
    backend: BackendOption = "auto",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write all figures: .json, or .html for a page with charts (needs narratives\\[report])."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write the page too, beside JSON.")] = None,
    format: Annotated[str, typer.Option(help="auto, jsonl, csv, parquet, datasets, doccano, label-studio or argilla.")] = "auto",
    text_column: Annotated[str | None, typer.Option(help="Column with the text, where it has an unusual name.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the labels, where it has an unusual name.")] = None,
    card: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the figures in the bundle's metrics and card as those of set NAME.")
    ] = None,
) -> None:
    """Measure a bundle on annotated posts, with 95% intervals: a table, JSON, and a page with curves, confusions and errors worth
    reading."""
    from narratives.scorer import Scorer

    with needs("train"):
        from narratives.training.evaluation import evaluate_bundle
        from narratives.training.journeys import part_of_data
        from narratives.training.loaders import Columns, read_annotated
        from narratives.training.metrics import Figure, summary_lines

    scorer = Scorer.from_pretrained(
        model, config=ScoreConfig(backend=backend, evidence=False, operating_point=operating_point), on_progress=say
    )
    found = read_annotated(data, scorer.taxonomy, format=format, columns=Columns(text_column, label_column))
    posts = part_of_data(found, scorer.bundle, part)
    title = f"{len(posts)} posts ({part})"
    evaluation = evaluate_bundle(scorer, posts, title=f"{title} of {data}, operating point {operating_point}")
    figures = evaluation.figures
    table = Table(title=f"{scorer.bundle.model_id} on {title}", title_justify="left")
    for name in ("label", "n", "precision", "recall", "F1 [95%]", "PR-AUC"):
        table.add_column(name, justify="left" if name == "label" else "right")
    stances = {name: one for name, one in figures["by_stance"].items() if one["n_positive"]}
    by_label: dict[str, Any] = {**figures["by_label"], **stances}
    for name, one in by_label.items():
        cells = ["–" if one[k] is None else f"{one[k]:.2f}" for k in ("precision", "recall")]
        area = one.get("average_precision")
        f1 = str(Figure(**one["f1"])) if one["f1"] else "–"
        table.add_row(name, str(one["n_positive"]), *cells, f1, "–" if area is None else f"{area:.2f}")
    out.print(table)
    for line in summary_lines(figures):
        out.print(line, markup=False)
    for path in (output, page):
        if path is None:
            continue
        if path.suffix.lower() in {".html", ".htm"}:
            from narratives.training.evaluation_page import page as page_of

            path.write_text(page_of(evaluation), encoding="utf-8")
        else:
            path.write_text(json.dumps(evaluation.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        out.print(f"written   {path}", markup=False)
    if card is not None:
        from narratives.training.card import add_to_card

        add_to_card(scorer.bundle, "other_sets", {card: figures})


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
