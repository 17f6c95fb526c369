"""Calibrate, compare and measure a trained bundle again, without training its weights anew.

    python scripts/finish.py models/kazakhstan-e5-small --background telegram_news_ru/messages.jsonl --background …

does what `narratives train` does after the last epoch: for a change to what follows training. Give the posts and the background that it was
trained with (its card names them), or its parts are not the same. Sections that other commands added to the card (other sets, behaviour,
evidence) are dropped, because they speak of the bundle as it was: run those commands again. The bundle is replaced at the end, or not at
all.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

from narratives.bundle import ModelBundle, load
from narratives.training.background import Background, read_background
from narratives.training.card import model_card
from narratives.training.corpus import split_corpus
from narratives.training.journeys import choose
from narratives.training.loaders import read_annotated
from narratives.training.train import finish


def finish_again(bundle: ModelBundle, data: Path, background: list[Path], target: Path) -> ModelBundle:
    """The bundle in `target`, calibrated, compared and measured again.

    Raises:
        SystemExit: it was not made by training on a corpus of events, or the background is missing.
    """
    config, before = bundle.train_config, bundle.metrics
    if bundle.kind == "runtime" or "command" not in before or "new_labels" in before:
        raise SystemExit(
            f"{bundle.path}: expected a bundle that `narratives train` made of a corpus of events, not an export or new labels"
        )
    if before["background"]["n_train"] and not background:
        raise SystemExit(f"{bundle.path}: was trained with real posts beside the corpus; name them with --background: {before['command']}")
    found = read_annotated(data, bundle.taxonomy)
    # The parts that the data came with, else those that training makes.
    split = choose(found, bundle.taxonomy, {}, has_background=bool(background)).split or split_corpus(
        found.posts, bundle.taxonomy, validation_share=config.validation_share, seed=config.seed
    )
    real = Background()
    if background:
        n_train, n_validation, n_screen = config.background_posts, config.background_validation_posts, config.background_screen_posts
        real = read_background(background, n_posts=n_train, n_validation=n_validation, n_screen=n_screen)
    files = bundle.own_files()
    with tempfile.TemporaryDirectory() as scratch:
        bare = dataclasses.replace(bundle, activation_ranges={})
        made = finish(
            bare, split, real, Path(scratch, target.name), files, command=str(before["command"]), started=time.monotonic(), say=print
        )
        # What it took to train, not to finish.
        made = dataclasses.replace(made, metrics={**made.metrics, "training_minutes": before["training_minutes"]})
        return dataclasses.replace(made, card=model_card(made)).save_pretrained(target, extra_files=files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--background", type=Path, action="append", default=[])
    parser.add_argument("--output", type=Path, help="where it goes; without it the bundle is replaced")
    arguments = parser.parse_args()
    made = finish_again(load(arguments.bundle), arguments.data, arguments.background, arguments.output or arguments.bundle)
    print(made.model_id)


if __name__ == "__main__":
    main()
