"""Posts a second, ours against what people would run otherwise: the same posts, the same cores, one run.

    python benchmarks/throughput.py dump.jsonl --posts 1000

prints two tables. In the first every way reads the same posts, spread evenly over the dump, all of them through the encoder; in the
second ours reads the whole dump with each saving switched on in turn, against the first table's `transformers.pipeline` one by one. The
pipeline runs the same fine-tuned weights in float32 as a sequence classifier (transformers' own head on the first token costs what ours
does), on the raw text cut at 512 tokens, as its users run it; sentence-transformers' `encode` (left out where it is not installed) is
what SetFit runs. Ours reads every post whole: cleaning, language, windows, calibration included; evidence is off, because the others
find none.

Tokens a second count the posts' tokens once, without padding. The share of a peak is the encoder's multiplications (2 x weights of the
linear layers x tokens, attention included) over time, against the largest rate of a matrix product measured in the same run: in float32,
bfloat16 and int8 (torch). Needs `narratives[train]`.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast, TextClassificationPipeline

from narratives import Post, ScoreConfig, Scorer
from narratives.backends import Backend, onnx, openvino
from narratives.bundle import ModelBundle, load
from narratives.config import usable_cores
from narratives.encoders import bundled
from narratives.encoders.int8 import BLOCK
from narratives.readers import read_posts

Way = Callable[[Sequence[Post]], object]
_MATRIX = 2048


def encoder_and_tokenizer(bundle: ModelBundle) -> tuple[object, PreTrainedTokenizerFast]:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bundled.build_tokenizer(trimmed=True),
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return bundle.torch_module().encoder, tokenizer


def pipeline_of(bundle: ModelBundle) -> TextClassificationPipeline:
    """The bundle's encoder as transformers users would run it."""
    encoder, tokenizer = encoder_and_tokenizer(bundle)
    config = encoder.config
    config.num_labels = len(bundle.labels)
    config.problem_type = "multi_label_classification"
    classifier = BertForSequenceClassification(config)
    classifier.bert.load_state_dict(encoder.state_dict(), strict=False)
    return TextClassificationPipeline(model=classifier.eval(), tokenizer=tokenizer, device="cpu")


def sentence_encoder(bundle: ModelBundle) -> Way | None:
    try:
        from sentence_transformers import SentenceTransformer, models
    except ImportError:
        return None
    encoder, tokenizer = encoder_and_tokenizer(bundle)
    with tempfile.TemporaryDirectory() as folder:
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = models.Transformer(folder, max_seq_length=512)
    model = SentenceTransformer(modules=[transformer, models.Pooling(384, "mean")])
    heads = bundle.heads()["labels.weight"].T
    return lambda posts: model.encode([p.text for p in posts], batch_size=32, show_progress_bar=False) @ heads


def peak(kind: str) -> float:
    """Multiply-adds a second, twice counted, of the best of ten products of square matrices."""
    best = 0.0
    a = torch.randn(_MATRIX, _MATRIX)
    if kind == "int8":
        small = torch.randint(-100, 100, (_MATRIX, _MATRIX), dtype=torch.int8)
        product: Callable[[], object] = lambda: torch._int_mm(small, small)  # noqa: E731
    else:
        b = a.to(getattr(torch, kind))
        product = lambda: b @ b  # noqa: E731
    for _ in range(10):
        start = time.perf_counter()
        product()
        best = max(best, 2 * _MATRIX**3 / (time.perf_counter() - start))
    return best


def work(bundle: ModelBundle, lengths: Sequence[int]) -> float:
    """Operations of the encoder for texts of so many tokens."""
    shape = bundled.read_weights()[0]
    linear = shape.n_layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.feed_forward)
    return float(sum(2 * linear * n + shape.n_layers * 4 * shape.hidden * n * n for n in lengths))


def ways_of(bundle: ModelBundle) -> dict[str, Way]:
    one = pipeline_of(bundle)
    found: dict[str, Way] = {
        "transformers.pipeline, one by one": lambda posts: one([p.text for p in posts], batch_size=1, truncation=True, top_k=None),
        "transformers.pipeline, batches of 32": lambda posts: one([p.text for p in posts], batch_size=32, truncation=True, top_k=None),
    }
    if encode := sentence_encoder(bundle):
        found["sentence-transformers encode, linear head"] = encode

    def ours(backend: str, **settings: object) -> Way:
        scorer = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False, backend=backend, **settings))  # type: ignore[arg-type]
        scorer.predict(["прогрев"] * 8)
        return lambda posts: sum(1 for _ in scorer.pipe(posts))

    found["plain torch float32, batches of 32 sorted by length"] = plain_torch(bundle, torch.float32)
    found["plain torch bfloat16, the same"] = plain_torch(bundle, torch.bfloat16)
    found["ours, torch float32"] = ours("torch")
    found["ours, onnxruntime float32"] = ours("onnx")
    found["ours, onnxruntime int8 (refused: its logits are off)"] = onnx_int8(bundle)
    found["ours, openvino without int8 products"] = without_int8(bundle)
    found["ours, openvino, posts not sorted by length (chunks of 16)"] = ours("openvino", chunk_posts=16)
    found["ours, openvino, one batch at a time on all cores"] = one_at_a_time(bundle)
    found["ours, openvino"] = ours("openvino")
    return found


def plain_torch(bundle: ModelBundle, dtype: torch.dtype) -> Way:
    """The encoder and linear heads as a careful user of transformers would batch them: the longest post first, no cleaning."""
    encoder, tokenizer = encoder_and_tokenizer(bundle)
    heads = torch.from_numpy(bundle.heads()["labels.weight"].T.copy())

    def run(posts: Sequence[Post]) -> None:
        texts = sorted((p.text for p in posts), key=len, reverse=True)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            for at in range(0, len(texts), 32):
                batch = tokenizer(texts[at : at + 32], padding=True, truncation=True, return_tensors="pt")
                states, mask = encoder(**batch).last_hidden_state, batch["attention_mask"][..., None]
                (states * mask).sum(1) / mask.sum(1) @ heads

    return run


def _through(bundle: ModelBundle, backend: Backend) -> Way:
    scorer = Scorer(bundle, ScoreConfig(evidence=False), backend)
    scorer.predict(["прогрев"] * 8)
    return lambda posts: sum(1 for _ in scorer.pipe(posts))


def onnx_int8(bundle: ModelBundle) -> Way:
    """onnxruntime left to itself: it fuses 8-bit weights into int8 products."""
    backend = onnx.OnnxBackend(bundle.runtime(), ScoreConfig())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    graph = bundle.runtime().graph
    assert graph is not None
    backend._session = onnxruntime.InferenceSession(str(graph()), options, providers=["CPUExecutionProvider"])
    return _through(bundle, backend)


def without_int8(bundle: ModelBundle) -> Way:
    """Activations not rounded, weights widened: bfloat16 products where the CPU has them."""
    plain = dataclasses.replace(bundle.runtime(), has_int8_weights=False, int8_graph=None)
    return _through(bundle, openvino.OpenvinoBackend(plain, ScoreConfig()))


def one_at_a_time(bundle: ModelBundle) -> Way:
    """Each batch on all cores, waited for before the next."""
    runtime = bundle.runtime()
    backend = openvino.OpenvinoBackend(runtime, ScoreConfig())
    graph = runtime.int8_graph if backend.precision == "int8" else runtime.graph
    assert graph is not None
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if openvino.has_bfloat16() else "f32"}
    settings |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": BLOCK if backend.precision == "int8 dynamic" else 0}
    settings |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": usable_cores()}
    backend._queue = openvino.openvino.AsyncInferQueue(openvino.openvino.Core().compile_model(str(graph()), "CPU", settings), 1)
    return _through(bundle, backend)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--posts", type=int, default=1000)
    parser.add_argument("--model", default=None)
    parser.add_argument("--only", nargs="*", help="parts of names of ways; the pipeline one by one always runs")
    parser.add_argument("--rounds", type=int, default=4, help="slices taken in turn by each way, so that drift of the machine falls on all")
    arguments = parser.parse_args()
    # Spread over the dump: neighbours are of one channel, and channels differ in length.
    every = [p for p in read_posts(arguments.dump) if isinstance(p, Post)]
    posts = every[:: max(1, len(every) // arguments.posts)][: arguments.posts]
    torch.set_num_threads(usable_cores())
    bundle = load(arguments.model)
    ways = ways_of(bundle)
    first = next(iter(ways))
    ways = {name: way for name, way in ways.items() if name == first or not arguments.only or any(o in name for o in arguments.only)}
    lengths = [len(ids) for ids in encoder_and_tokenizer(bundle)[1]([p.text for p in posts], truncation=True)["input_ids"]]
    operations = work(bundle, lengths)
    peaks = {kind: peak(kind) for kind in ("float32", "bfloat16", "int8")}
    seconds = dict.fromkeys(ways, 0.0)
    for way in ways.values():
        way(posts[:32])
    size = -(-len(posts) // arguments.rounds)
    for at in range(0, len(posts), size):
        for name, way in ways.items():
            start = time.perf_counter()
            way(posts[at : at + size])
            seconds[name] += time.perf_counter() - start
    print(f"{len(posts)} posts of {arguments.dump.name}, {len({p.text for p in posts})} distinct, {torch.get_num_threads()} cores")
    print(f"median {int(np.median(lengths))}, mean {np.mean(lengths):.0f} tokens; peaks in GFLOP/s: ", end="")
    print(", ".join(f"{kind} {value / 1e9:.0f}" for kind, value in peaks.items()))
    print(f"{'':58} posts/s tokens/s  ratio  of float peak  of int8 peak")
    for name, total in seconds.items():
        rate = operations / total
        print(f"{name:58} {len(posts) / total:7.1f} {sum(lengths) / total:8.0f} {seconds[first] / total:6.2f}", end="")
        print(f" {rate / peaks['float32']:14.0%} {rate / peaks['int8']:13.0%}")

    print(f"\nthe whole dump, {len(every)} posts")
    base = len(posts) / seconds[first]
    for name, screen, overlap in (
        ("every post through the encoder", False, False),
        ("the screen first", True, False),
        ("the screen first, and the next chunk prepared meanwhile", True, True),
    ):
        scorer = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False, screen=screen))
        scorer.predict(["прогрев"] * 8)
        start = time.perf_counter()
        if overlap:
            chunks = (every[at : at + 4096] for at in range(0, len(every), 4096))
            predictions = [p for chunk in scorer.pipe_chunks(chunks) for p in chunk]
        else:
            predictions = list(scorer.pipe(every))
        rate = len(every) / (time.perf_counter() - start)
        passed, flagged = sum(not p.screened for p in predictions) / len(predictions), sum(bool(p.labels) for p in predictions)
        print(f"{name:58} {rate:7.1f} {'':8} {rate / base:6.2f}   {passed:.1%} read by the encoder, {flagged} flagged")
    print(f"peak memory of the process, all models loaded: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
