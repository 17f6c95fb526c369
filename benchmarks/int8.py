"""What products in int8 gain and cost: OpenVINO with and without them, on the same posts, in turns.

    python benchmarks/int8.py dump.jsonl --posts 500 --strengths 0.5 0.7 0.8 0.85 0.9

prints for each way the rate of the encoder alone, the ratio to bfloat16 (median, least and most over the rounds), the error of label logits
against onnxruntime in float32, and the share of decisions that differ at the bundle's thresholds. `--strengths` adds graphs whose inputs
are balanced otherwise (`encoders/int8.py`); "0" is not at all. Needs a CPU that computes in bfloat16, and a bundle with ranges.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from narratives import Post
from narratives.backends.onnx import OnnxBackend
from narratives.backends.openvino import OpenvinoBackend, has_bfloat16
from narratives.bundle import ModelBundle, load
from narratives.config import ScoreConfig
from narratives.encoders import bundled, graph, int8
from narratives.readers import read_posts
from narratives.training.features import read_texts


def balanced(bundle: ModelBundle, strength: float, folder: Path) -> Callable[[], Path]:
    """The int8 graph with another strength; 0: inputs are rounded as they are."""
    shape, base = bundled.read_weights()
    usual, alike = int8.STRENGTH, graph.balance
    int8.STRENGTH = strength
    if not strength:
        graph.balance = lambda ranges, _weights: np.ones(ranges.shape[1], np.float32)
    try:
        made = graph.build(shape, bundle.encoder_weights(base), bundle.heads(), activation_ranges=bundle.activation_ranges)
    finally:
        int8.STRENGTH, graph.balance = usual, alike
    path = folder / f"strength-{strength}.onnx"
    onnx.save(made, str(path))
    return lambda: path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--posts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--strengths", type=float, nargs="*", default=[])
    parser.add_argument("--model")
    options = parser.parse_args()
    bundle = load(options.model)
    if not has_bfloat16() or not bundle.activation_ranges:
        raise SystemExit("expected a CPU that computes in bfloat16 and a bundle with ranges of activations")
    every = [post for post in read_posts(options.dump) if isinstance(post, Post) and post.text.strip()]
    texts = read_texts(every[:: max(1, len(every) // options.posts)][: options.posts])
    runtime, config = bundle.runtime(), ScoreConfig()
    plain = dataclasses.replace(runtime, has_int8_weights=False, int8_graph=None)
    reference = OnnxBackend(runtime, config).logits(texts).labels
    thresholds = np.array(bundle.calibration.thresholds, dtype=np.float32)

    def decisions(logits: np.ndarray) -> np.ndarray:
        return bundle.calibration.decide(bundle.calibration.probabilities(logits), thresholds)

    with tempfile.TemporaryDirectory() as scratch:
        ways = {"bfloat16": OpenvinoBackend(plain, config), "int8": OpenvinoBackend(runtime, config)}
        for strength in options.strengths:
            model = dataclasses.replace(runtime, int8_graph=balanced(bundle, strength, Path(scratch)))
            ways[f"int8, strength {strength:g}"] = OpenvinoBackend(model, config)
        logits = {name: way.logits(texts).labels for name, way in ways.items()}  # which also warms them up
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name in list(ways)[:: 1 if number % 2 else -1]:
                start = time.perf_counter()
                ways[name].logits(texts)
                seconds[name].append(time.perf_counter() - start)
    print(f"{len(texts)} posts of {options.dump.name}, {options.rounds} rounds, {bundle.model_id}")
    print("| way | posts/s | against bfloat16 | mean error | 99th percentile | decisions that differ |\n|---|---|---|---|---|---|")
    for name in ways:
        ratios = np.array(seconds["bfloat16"]) / np.array(seconds[name])
        error = np.abs(logits[name] - reference)
        flipped = (decisions(logits[name]) != decisions(reference)).mean()
        print(
            f"| {name} | {len(texts) / np.median(seconds[name]):.1f} | {np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}] "
            f"| {error.mean():.2f} | {np.quantile(error, 0.99):.2f} | {flipped:.2%} of {error.size} |"
        )


if __name__ == "__main__":
    main()
