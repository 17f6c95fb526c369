"""`import narratives` must stay light: pipelines import it everywhere."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "spacy", "ray", "pandas", "sklearn", "openvino", "onnxruntime", "onnx", "pyarrow", "tokenizers")


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_brings_in_nothing_heavy() -> None:
    assert modules_after("import narratives").isdisjoint(HEAVY)


def test_the_command_line_brings_in_nothing_heavy() -> None:
    assert modules_after("import narratives.cli").isdisjoint(HEAVY)


def test_the_scorer_brings_in_neither_torch_nor_transformers() -> None:
    assert modules_after("from narratives import Scorer").isdisjoint({"torch", "transformers", "sklearn", "spacy", "pandas"})
