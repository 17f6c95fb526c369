"""The runtime graph: a BERT-like encoder, mean pooling and two heads, written as ONNX without torch.

`build` takes plain arrays under transformers' names and gives a model that OpenVINO and onnxruntime both read:

    input_ids (n, length) int64, attention_mask (n, length) int64
        -> label_logits (n, n_labels) float32, stance_logits (n, n_stances) float32

The word embeddings stay in half precision (the table is 80% of the model and is only looked up), the encoder's linear weights
are in 8 bits with a scale for each block of inputs (`int8.py`); all else is float32. With the ranges of activations, what these layers
take in is rounded to 8 bits too, and their weights have a scale for each output: an engine then multiplies in int8 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from narratives.encoders.int8 import balance, block_of, grid, quantise_blocks
from narratives.encoders.shape import EncoderShape

WORD_EMBEDDINGS = "word_embeddings"
"""The name of the table, in half precision, in every graph."""
_OPSET = 21  # the first whose DequantizeLinear knows blocks; Attention (23) was slower in onnxruntime, no faster in OpenVINO

FloatArray = npt.NDArray[np.float32]


class _Writer:
    """Collects nodes and weights; each call returns the name of its one output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x: str, weight: FloatArray, bias: FloatArray, name: str) -> str:
        # torch keeps (out, in); MatMul wants (in, out).
        return self._add_bias(x, self.constant(f"{name}.weight", weight.T), bias, name)

    def linear_int8(self, x: str, weight: FloatArray, bias: FloatArray, name: str) -> str:
        q, scales = quantise_blocks(weight)
        stored, by = self.constant(f"{name}.weight.int8", q.T), self.constant(f"{name}.weight.scale", scales.T)
        whole = self.op("DequantizeLinear", stored, by, name=f"{name}.weight", axis=0, block_size=block_of(weight.shape[1]))
        return self._add_bias(x, whole, bias, name)

    def rounded(self, x: str, ranges: FloatArray, weights: Sequence[FloatArray], name: str) -> tuple[str, FloatArray]:
        """`x` divided by its factors and rounded to its grid, and the factors."""
        factors = balance(ranges, weights)
        scale, zero_point = grid(ranges / factors)
        steps = [self.constant(f"{name}.scale", np.array(scale)), self.constant(f"{name}.zero_point", np.array(zero_point))]
        even = self.op("Mul", x, self.constant(f"{name}.factors", 1 / factors), name=f"{name}.balanced")
        stored = self.op("QuantizeLinear", even, *steps, name=f"{name}.int8")
        return self.op("DequantizeLinear", stored, *steps, name=f"{name}.rounded"), factors

    def linear_rounded(self, x: str, weight: FloatArray, bias: FloatArray, name: str) -> str:
        """For an input of `rounded`, whose factors are in the weight."""
        q, scales = quantise_blocks(weight, weight.shape[1])
        stored, by = self.constant(f"{name}.weight.int8", q.T), self.constant(f"{name}.weight.scale", scales[:, 0])
        return self._add_bias(x, self.op("DequantizeLinear", stored, by, name=f"{name}.weight", axis=1), bias, name)

    def _add_bias(self, x: str, weight: str, bias: FloatArray, name: str) -> str:
        product = self.op("MatMul", x, weight, name=f"{name}.matmul")
        return self.op("Add", product, self.constant(f"{name}.bias", bias), name=f"{name}.out")

    def layer_norm(self, x: str, weight: FloatArray, bias: FloatArray, eps: float, name: str) -> str:
        scale, shift = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        return self.op("LayerNormalization", x, scale, shift, name=f"{name}.out", axis=-1, epsilon=eps)


def build(
    shape: EncoderShape,
    encoder: Mapping[str, FloatArray],
    heads: Mapping[str, FloatArray],
    *,
    activation_ranges: Mapping[str, FloatArray] | None = None,
    position_offset: int = 0,
) -> onnx.ModelProto:
    """Write encoder, pooling and heads as one ONNX model.

    Args:
        shape: sizes of the encoder.
        encoder: arrays under the names of transformers' `BertModel`; linear weights (out, in).
        heads: `labels.weight` (n_labels, hidden), `labels.bias`, `stance.weight` (n_stances, hidden), `stance.bias`.
        activation_ranges: lowest and highest value of what each linear layer takes in (`int8.layer_inputs`), shape (2, width);
            None: these are not rounded.
        position_offset: first position id; 0 for BERT, 2 for XLM-R.
    """
    w = _Writer()
    hidden, head_size = shape.hidden, shape.hidden // shape.n_heads
    eps = shape.layer_norm_eps

    table = w.constant(WORD_EMBEDDINGS, encoder["embeddings.word_embeddings.weight"].astype(np.float16))
    words = w.op("Cast", w.op("Gather", table, "input_ids", name="words.half"), name="words", to=TensorProto.FLOAT)
    # Token type 0 everywhere: its row is added to every position once, here.
    positions = encoder["embeddings.position_embeddings.weight"] + encoder["embeddings.token_type_embeddings.weight"][0]
    length = w.op("Shape", "input_ids", name="length", start=1, end=2)
    start = w.constant("start", np.array([0], dtype=np.int64))
    axis0 = w.constant("axis0", np.array([0], dtype=np.int64))
    table = w.constant("positions.table", positions[position_offset:])
    x = w.op("Add", words, w.op("Slice", table, start, length, axis0, name="positions"), name="embedded")
    x = w.layer_norm(x, encoder["embeddings.LayerNorm.weight"], encoder["embeddings.LayerNorm.bias"], eps, "embedded.norm")

    mask = w.op("Cast", "attention_mask", name="mask", to=TensorProto.FLOAT)
    one = w.constant("one", np.array(1.0, dtype=np.float32))
    low = w.constant("low", np.array(-1e4, dtype=np.float32))  # -inf would give NaN for a row of padding only
    absent = w.op("Mul", w.op("Sub", one, mask, name="mask.absent"), low, name="mask.low")
    axes12 = w.constant("axes12", np.array([1, 2], dtype=np.int64))
    attention_bias = w.op("Unsqueeze", absent, axes12, name="attention_bias")

    split_heads = w.constant("split_heads", np.array([0, 0, shape.n_heads, head_size], dtype=np.int64))
    join_heads = w.constant("join_heads", np.array([0, 0, hidden], dtype=np.int64))
    scale = np.float32(1.0 / np.sqrt(head_size))
    for layer in range(shape.n_layers):
        at = f"encoder.layer.{layer}."

        def part(part_name: str, at: str = at) -> tuple[FloatArray, FloatArray]:
            return encoder[f"{at}{part_name}.weight"], encoder[f"{at}{part_name}.bias"]

        def linears(x: str, input_name: str, layers: Mapping[str, tuple[FloatArray, FloatArray]], at: str = at) -> list[str]:
            """Linear layers over one input: a weight and a bias for the name of each output."""
            if activation_ranges is None:
                return [w.linear_int8(x, *layer, f"{at}{name}") for name, layer in layers.items()]
            ranges = activation_ranges[f"{at}{input_name}"].astype(np.float32)
            x, factors = w.rounded(x, ranges, [weight for weight, _ in layers.values()], f"{at}{input_name}.in")
            return [w.linear_rounded(x, weight * factors, bias, f"{at}{name}") for name, (weight, bias) in layers.items()]

        def heads_of(flat: str, order: list[int]) -> str:
            return w.op("Transpose", w.op("Reshape", flat, split_heads, name=f"{flat}.heads"), name=f"{flat}.t", perm=order)

        # The 1/sqrt(head size) of attention is folded into the query's weights.
        weight, bias = part("attention.self.query")
        projections = {"query": (weight * scale, bias * scale), "key": part("attention.self.key"), "value": part("attention.self.value")}
        flat_query, flat_key, flat_value = linears(x, "attention.self", projections)
        query, key, value = heads_of(flat_query, [0, 2, 1, 3]), heads_of(flat_key, [0, 2, 3, 1]), heads_of(flat_value, [0, 2, 1, 3])
        logits = w.op("Add", w.op("MatMul", query, key, name=f"{at}qk"), attention_bias, name=f"{at}qk.masked")
        weights = w.op("Softmax", logits, name=f"{at}attention", axis=-1)
        context = w.op("Transpose", w.op("MatMul", weights, value, name=f"{at}av"), name=f"{at}av.t", perm=[0, 2, 1, 3])
        context = w.op("Reshape", context, join_heads, name=f"{at}context")
        (projected,) = linears(context, "attention.output.dense", {"ao": part("attention.output.dense")})
        attended = w.op("Add", projected, x, name=f"{at}attended")
        attended = w.layer_norm(attended, *part("attention.output.LayerNorm"), eps, f"{at}attended.norm")
        (wide,) = linears(attended, "intermediate.dense", {"fi": part("intermediate.dense")})
        (narrow,) = linears(w.op("Gelu", wide, name=f"{at}gelu"), "output.dense", {"fo": part("output.dense")})
        x = w.op("Add", narrow, attended, name=f"{at}sum")
        x = w.layer_norm(x, *part("output.LayerNorm"), eps, f"{at}norm")

    axis1, axis2 = (w.constant(f"axis{i}", np.array([i], dtype=np.int64)) for i in (1, 2))
    kept = w.op("Mul", x, w.op("Unsqueeze", mask, axis2, name="mask.column"), name="kept")
    total = w.op("ReduceSum", kept, axis1, name="total", keepdims=0)
    pooled = w.op("Div", total, w.op("ReduceSum", mask, axis1, name="count", keepdims=1), name="pooled")
    for head in ("labels", "stance"):
        w.linear(pooled, heads[f"{head}.weight"], heads[f"{head}.bias"], head)
    w.op("Identity", "labels.out", name="label_logits")
    w.op("Identity", "stance.out", name="stance_logits")

    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "length"]) for n in ("input_ids", "attention_mask")]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", heads[f"{h}.weight"].shape[0]])
        for n, h in (("label_logits", "labels"), ("stance_logits", "stance"))
    ]
    graph = helper.make_graph(w.nodes, "narratives", ids, outputs, initializer=w.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
