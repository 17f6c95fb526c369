"""A bundle as a self-contained folder: it scores without the package that carries the base model's weights, and without a cache.

A bundle of the shipped encoder holds a difference to that encoder; here its graphs and tokenizer are made once and written beside it. It
gives the same probabilities, to the last bit, and cannot be trained further. The word embeddings, four fifths of a graph, are in a file of
their own that both graphs read.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from narratives import bundle as bundles
from narratives.bundle import EMBEDDINGS, INT8_GRAPH, ModelBundle

_NOTE = """
## This is a runtime export

Made from the bundle `{model_id}`: the graph and the tokenizer are in the folder. It scores with `narratives score --model <folder>` and
needs neither the base model's package nor a cache folder; torch weights are not in it.
"""


def export_runtime(name_or_path: str | Path | None, folder: str | Path, *, say: Callable[[str], None] = lambda _: None) -> ModelBundle:
    """Write the folder and give it back as it is loaded.

    Args:
        name_or_path: what `Scorer.from_pretrained` takes.
        folder: replaced if it is a bundle; refused if it holds anything else.

    Raises:
        BundleError: there is no such bundle, or the folder is something else.
    """
    bundle = bundles.load(name_or_path)
    if bundle.kind != "difference":
        # Linear models, other encoders and earlier exports need nothing from outside as they are.
        return bundle.save_pretrained(folder, extra_files=bundle.own_files())
    runtime = bundle.runtime(say)
    assert runtime.graph is not None
    assert runtime.tokenizer is not None
    kept = {name: value for name, value in bundle.weights.items() if not name.startswith("difference.")}
    exported = dataclasses.replace(
        bundle, kind="runtime", weights=kept, card=bundle.card.rstrip("\n") + "\n" + _NOTE.format(model_id=bundle.model_id)
    )
    graphs = {"model.onnx": runtime.graph()} | ({INT8_GRAPH: runtime.int8_graph()} if runtime.int8_graph else {})
    with tempfile.TemporaryDirectory() as scratch:
        files = {"tokenizer.json": runtime.tokenizer(), **_sharing_embeddings(graphs, Path(scratch))}
        return exported.save_pretrained(folder, extra_files=files)


def _sharing_embeddings(graphs: Mapping[str, Path], scratch: Path) -> dict[str, Path]:
    """The graphs written anew in `scratch`, and the one file with the word embeddings that all of them name."""
    import onnx
    from onnx.external_data_helper import set_external_data

    from narratives.encoders.graph import WORD_EMBEDDINGS

    for name, path in graphs.items():
        model = onnx.load(str(path))
        (table,) = (tensor for tensor in model.graph.initializer if tensor.name == WORD_EMBEDDINGS)
        (scratch / EMBEDDINGS).write_bytes(table.raw_data)
        set_external_data(table, location=EMBEDDINGS)
        table.ClearField("raw_data")
        (scratch / name).write_bytes(model.SerializeToString())
    return {name: scratch / name for name in (*graphs, EMBEDDINGS)}
