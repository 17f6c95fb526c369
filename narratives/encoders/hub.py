"""Any transformers encoder: a model id of the hub, or a local folder. Needs `narratives[train]`.

The tokenizer is always taken as a fast one; a sentencepiece tokenizer (XLM-R, mDeBERTa) is converted by transformers. No
code from the hub is ever run, and only safetensors are read where a folder has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from narratives.errors import BundleError, ConfigError, MissingDependency

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def load_model(name_or_path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The encoder (without heads) and its fast tokenizer.

    Raises:
        MissingDependency: torch, transformers or sentencepiece is not installed.
        ConfigError: no such folder, and the hub has no such model or cannot be reached.
        BundleError: the model has no fast tokenizer, or is no encoder.
    """
    try:
        from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingDependency(error.name or "transformers", "train") from error

    name = str(name_or_path)
    is_folder = Path(name).is_dir()
    if not is_folder and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ConfigError(f"base model {name!r}: no such folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False, local_files_only=is_folder)
        model = AutoModel.from_pretrained(name, trust_remote_code=False, local_files_only=is_folder)
    except (OSError, ConnectionError) as error:
        raise ConfigError(
            f"base model {name!r}: not a local folder, not in the local cache, and the hub did not answer or has no such model. "
            f"Give a folder, connect once, or use the shipped multilingual-e5-small. ({_first_line(error)})"
        ) from error
    except ImportError as error:
        raise MissingDependency(error.name or "sentencepiece", "train") from error
    except ValueError as error:
        raise BundleError(name, f"transformers cannot load it: {_first_line(error)}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BundleError(name, "has no fast tokenizer; expected one that transformers can convert to tokenizer.json")
    if getattr(model.config, "is_encoder_decoder", False) or getattr(model.config, "is_decoder", False):
        raise BundleError(name, f"is a {model.config.model_type} with a decoder; expected an encoder such as xlm-roberta-base")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # random where the checkpoint has none, and never used: pooling is ours
    return model.eval(), tokenizer


def usable_length(encoder: PreTrainedModel, pad_id: int, wanted: int) -> int:
    """`wanted` tokens, or as many as the encoder has positions for."""
    positions = int(getattr(encoder.config, "max_position_embeddings", wanted))
    # XLM-R's positions start after the padding id: its 514 hold 512 tokens.
    return min(wanted, positions - (pad_id + 1 if encoder.config.model_type in {"xlm-roberta", "roberta", "camembert"} else 0))


def save_beside(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config.json, and tokenizer.json without truncation and padding, as a bundle of kind "whole" has them."""
    backend_tokenizer = tokenizer.backend_tokenizer
    backend_tokenizer.no_truncation()
    backend_tokenizer.no_padding()
    backend_tokenizer.save(str(folder / "tokenizer.json"))
    encoder.config.save_pretrained(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0][:200]
