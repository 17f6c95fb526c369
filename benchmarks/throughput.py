"""Posts a second, ours against transformers.pipeline one post at a time: the same posts, the same cores, one run.

    python benchmarks/throughput.py dump.jsonl --posts 2000

prints a table. The posts are spread evenly over the dump. The pipeline runs the same fine-tuned weights in float32 as a sequence
classifier (transformers' own head on the first token has the same cost as ours), on the raw text cut at 512 tokens, as its users run it.
Ours reads every post whole: cleaning, language, windows, calibration included; evidence is off, because the pipeline finds none. Needs
`narratives[train]`.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast, TextClassificationPipeline

from narratives import Post, ScoreConfig, Scorer
from narratives.config import usable_cores
from narratives.encoders import bundled
from narratives.readers import read_posts


def pipeline_of(scorer: Scorer) -> TextClassificationPipeline:
    """The bundle's encoder as transformers users would run it."""
    encoder = scorer.bundle.torch_module().encoder
    config = encoder.config
    config.num_labels = len(scorer.labels)
    config.problem_type = "multi_label_classification"
    classifier = BertForSequenceClassification(config)
    classifier.bert.load_state_dict(encoder.state_dict(), strict=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bundled.build_tokenizer(trimmed=True),
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return TextClassificationPipeline(model=classifier.eval(), tokenizer=tokenizer, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--model", default=None)
    parser.add_argument(
        "--rounds",
        type=int,
        default=4,
        help="the posts are scored in so many slices, in turn by each, so that drift of the machine falls on both",
    )
    arguments = parser.parse_args()
    # Spread over the dump: neighbours are of one channel, and channels differ in length.
    every = [p for p in read_posts(arguments.dump) if isinstance(p, Post)]
    posts = every[:: max(1, len(every) // arguments.posts)][: arguments.posts]
    scorer = Scorer.from_pretrained(arguments.model, config=ScoreConfig(evidence=False))
    one_by_one = pipeline_of(scorer)
    torch.set_num_threads(usable_cores())

    scorer.predict([p.text for p in posts[:64]])  # warm-up of both
    one_by_one([p.text for p in posts[:16]], batch_size=1, truncation=True, top_k=None)
    seconds = {"transformers.pipeline, batch_size=1, float32": 0.0, f"narratives, {scorer.backend.name} {scorer.backend.precision}": 0.0}
    theirs, ours = seconds
    size = -(-len(posts) // arguments.rounds)
    for at in range(0, len(posts), size):
        part = posts[at : at + size]
        start = time.perf_counter()
        one_by_one([p.text for p in part], batch_size=1, truncation=True, top_k=None)
        seconds[theirs] += time.perf_counter() - start
        start = time.perf_counter()
        n_done = sum(1 for _ in scorer.pipe(part))
        seconds[ours] += time.perf_counter() - start
        assert n_done == len(part)
    print(f"{len(posts)} posts of {arguments.dump.name}, {len({p.text for p in posts})} distinct, {torch.get_num_threads()} cores")
    print(f"{'':48} posts/s  ratio")
    for name, total in seconds.items():
        print(f"{name:48} {len(posts) / total:7.1f}  {seconds[theirs] / total:5.2f}")
    print(f"peak memory of the process, both models loaded: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
