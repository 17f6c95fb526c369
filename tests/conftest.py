"""Shared facts: a small taxonomy with posts made for it, a linear bundle trained on them, and a tiny random encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from narratives import taxonomy
from narratives.bundle import ModelBundle
from narratives.config import TrainConfig
from narratives.records import Post
from narratives.taxonomy import Taxonomy

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

TOML = """
name = "weather"
version = 1

[[label]]
id = "rain"
name = { en = "rain", ru = "дождь", kk = "жаңбыр" }
definition = "The post says that it rains."

[[label]]
id = "snow"
name = "snow"
"""

_THINGS = ["дорога", "школа", "рынок", "станция", "парк", "площадь", "завод", "музей", "вокзал", "театр", "мост", "озеро"]
_ENDS = ["вчера вечером", "сегодня утром", "в пятницу", "после обеда", "весь день"]
_SAYS = {"endorses": "Точно говорю", "reports": "Сообщают соседи", "refutes": "Неправда это"}


def weather_posts() -> list[Post]:
    """180 posts in 60 groups, easily told apart: what training needs to be seen to work, not what it is for."""
    posts = []
    for i, thing in enumerate(_THINGS):
        for j, end in enumerate(_ENDS):
            stance = list(_SAYS)[(i + j) % 3]
            say = _SAYS[stance]
            group = f"{thing}-{j}"
            for labels, what in ((("rain",), "льёт дождь"), (("snow",), "валит снег"), ((), "открыта для всех")):
                text = f"{say}: {thing}, {what} {end}." if labels else f"{thing.capitalize()} {what} {end}."
                language = "ru" if j % 2 else "kk"
                kept = stance if labels else None
                posts.append(
                    Post(text=text, id=f"{group}-{what}", language=language, labels=labels, stance=kept, group=group)  # type: ignore[arg-type]
                )
    return posts


@pytest.fixture(scope="session")
def weather() -> Taxonomy:
    return taxonomy.parse(TOML, "weather.toml")


@pytest.fixture(scope="session")
def posts() -> list[Post]:
    return weather_posts()


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "weather.jsonl"
    rows = [
        {
            "id": p.id, "text": p.text, "lang": p.language, "labels": list(p.labels or ()), "stance": p.stance, "group": p.group,
            "register": "chat", "author_note": "made for tests",
        }
        for p in weather_posts()
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def taxonomy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taxonomy") / "weather.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def linear_bundle(tmp_path_factory: pytest.TempPathFactory, weather: Taxonomy, posts: list[Post]) -> ModelBundle:
    """Trained in a second, exact, and read by the same code as any other."""
    from narratives.training.train import train

    folder = tmp_path_factory.mktemp("models") / "linear"
    return train(posts, weather, TOML, folder, config=TrainConfig(base_model="linear"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers with a tokenizer of its own, as a local transformers folder."""
    import tokenizers
    import torch
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator([p.text for p in weather_posts()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


TINY = TrainConfig(
    epochs=25, learning_rate=3e-3, head_learning_rate=1e-2, patience=25, batch_posts=8, layer_decay=1.0, precision="float32", augment=0.0
)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, weather: Taxonomy, posts: list[Post], tiny_encoder: Path) -> ModelBundle:
    """The tiny encoder after fine-tuning: a "whole" bundle with its own graph and tokenizer."""
    import dataclasses

    from narratives.training.train import train

    folder = tmp_path_factory.mktemp("models") / "tiny"
    return train(posts, weather, TOML, folder, config=dataclasses.replace(TINY, base_model=str(tiny_encoder)))


@pytest.fixture(scope="session")
def sample_dump() -> Path:
    return ROOT / "data" / "samples" / "telegram-export" / "result.json"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the real posts of ../shared/data are not here")
    return SHARED_DATA
