from pathlib import Path

import pytest

from narratives.encoders import hub
from narratives.errors import BundleError, ConfigError


def test_a_local_folder_gives_model_and_fast_tokenizer(tiny_encoder: Path) -> None:
    model, tokenizer = hub.load_model(tiny_encoder)
    assert model.config.hidden_size == 32
    assert tokenizer.is_fast
    assert tokenizer("дорога")["input_ids"]


def test_a_sentencepiece_tokenizer_is_converted(tmp_path: Path) -> None:
    """XLM-R as the hub has it: sentencepiece.bpe.model and no tokenizer.json."""
    import sentencepiece
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    text = tmp_path / "text.txt"
    text.write_text("дорога школа рынок станция парк қазақ тілі мектеп\n" * 20, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "sentencepiece.bpe"), vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "sentencepiece.bpe.vocab").unlink()
    text.unlink()
    config = XLMRobertaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=66
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    _, tokenizer = hub.load_model(tmp_path)
    assert tokenizer.is_fast
    assert tokenizer.tokenize("қазақ мектеп")


def test_without_the_hub_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConfigError, match=r"base model 'nobody/no-such-model': not a local folder.*Give a folder, connect once, or use the shipped"
    ):
        hub.load_model("nobody/no-such-model")


def test_an_absent_folder_is_not_looked_up_on_the_hub() -> None:
    with pytest.raises(ConfigError, match=r"base model '\./absent': no such folder"):
        hub.load_model("./absent")


def test_a_decoder_is_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    import shutil

    from transformers import BertConfig, BertModel

    shutil.copytree(tiny_encoder, tmp_path / "decoder")
    config = BertConfig.from_pretrained(tiny_encoder)
    config.is_decoder = True
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "decoder")
    with pytest.raises(BundleError, match="with a decoder; expected an encoder"):
        hub.load_model(tmp_path / "decoder")
