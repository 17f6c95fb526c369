"""Calibrate, compare and measure a trained bundle again, without training its weights anew.

    python scripts/finish.py models/kazakhstan-e5-small --background telegram_news_ru/messages.jsonl --background …

does what `narratives train` does after the last epoch: for a change to what follows training. Give the posts and the background that it was
trained with (its card names them), or its parts are not the same. Sections that other commands added to the card (other sets, behaviour,
evidence) are dropped, because they speak of the bundle as it was: run those commands again.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from narratives.bundle import load
from narratives.training.background import Background, read_background
from narratives.training.card import model_card
from narratives.training.corpus import read_corpus, split_corpus
from narratives.training.train import finish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--background", type=Path, action="append", default=[])
    parser.add_argument("--output", type=Path, help="where it goes; without it the bundle is replaced")
    arguments = parser.parse_args()
    bundle = load(arguments.bundle)
    config, before = bundle.train_config, bundle.metrics
    split = split_corpus(
        read_corpus(arguments.data, bundle.taxonomy), bundle.taxonomy, validation_share=config.validation_share, seed=config.seed
    )
    real = Background()
    if arguments.background:
        real = read_background(
            arguments.background,
            n_posts=config.background_posts,
            n_validation=config.background_validation_posts,
            n_screen=config.background_screen_posts,
        )
    names = ("model.onnx", "tokenizer.json", "config.json")
    extra = {name: arguments.bundle / name for name in names if (arguments.bundle / name).is_file()}
    bundle = dataclasses.replace(bundle, activation_ranges={})
    folder = arguments.output or arguments.bundle
    found = finish(bundle, split, real, folder, extra, command=str(before["command"]), started=time.monotonic(), say=print)
    # What it took to train, not to finish.
    found = dataclasses.replace(found, metrics={**found.metrics, "training_minutes": before["training_minutes"]})
    dataclasses.replace(found, card=model_card(found)).save_pretrained(folder, extra_files=extra)


if __name__ == "__main__":
    main()
