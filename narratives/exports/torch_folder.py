"""A bundle's fine-tuned encoder as transformers' own folder: `AutoModel.from_pretrained(folder)`, without remote code.

The encoder is a plain BERT (or whatever the base model is), so `AutoModel` and `AutoTokenizer` load it as it is. What follows it is not a
class that transformers has: the mean of the token vectors, two linear heads, Platt's scaling for each label, and for most
bundles a TF-IDF model whose logits are added. Heads and calibration go into files of their own, with the few lines that use them in
the folder's README.md; the TF-IDF part stays here, so figures of the card hold for `narratives`, not for this folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from narratives import bundle as bundles
from narratives.encoders.bundled import SPECIAL_TOKENS
from narratives.errors import BundleError, MissingDependency
from narratives.records import STANCES

_README = """# {name}: the encoder, for transformers

The fine-tuned encoder of the narratives bundle `{model_id}`.

```python
import json

import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
encoder = AutoModel.from_pretrained(folder).eval()
heads, settings = load_file(f"{{folder}}/heads.safetensors"), json.load(open(f"{{folder}}/heads.json"))


def label_probabilities(texts):
    batch = tokenizer(
        [settings["prefix"] + text for text in texts], padding=True, truncation=True, max_length=settings["max_length"], return_tensors="pt"
    )
    with torch.no_grad():
        tokens = encoder(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = (tokens * mask).sum(1) / mask.sum(1)
    logits = pooled @ heads["labels.weight"].T + heads["labels.bias"]
    return torch.sigmoid(logits * torch.tensor(settings["slopes"]) + torch.tensor(settings["intercepts"]))
```

`settings["labels"]` names the columns, `settings["stances"]` those of `stance.weight`. {beside} Texts go in as they are here;
`narratives` cleans them first (look-alike letters, invisible characters), reads long posts in windows and Kazakh in Latin letters in
Cyrillic ones.
"""
_BESIDE = "In `narratives` the logits of a TF-IDF model are added before the calibration: without it these probabilities are less exact."


def export_torch(name_or_path: str | Path | None, folder: str | Path, *, say: Callable[[str], None] = lambda _: None) -> Path:
    """Write the folder: config.json, model.safetensors, tokenizer files, heads.safetensors, heads.json, README.md.

    Raises:
        BundleError: the bundle has no torch weights, or the folder exists and is no such export.
        MissingDependency: `narratives[train]` is not installed.
    """
    try:
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingDependency(error.name or "transformers", "train") from error

    bundle = bundles.load(name_or_path)
    if bundle.kind in ("linear", "runtime"):
        raise BundleError(bundle.path or bundle.name, f"is of kind {bundle.kind!r} and has no torch weights; give the bundle of an encoder")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "heads.json").is_file():
            raise BundleError(folder, "exists and is no export of this kind; choose another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    say("writing the encoder")
    runtime = bundle.runtime(say)
    model = bundle.torch_module()
    model.encoder.save_pretrained(folder)
    assert runtime.tokenizer is not None
    reading = bundle.reading
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(runtime.tokenizer()),
        **SPECIAL_TOKENS,
        model_max_length=reading.max_length,
    )
    if tokenizer.pad_token_id != reading.pad_id:  # another base model's names of its special tokens
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(reading.pad_id)
    tokenizer.save_pretrained(folder)
    save_file({name: np.ascontiguousarray(value) for name, value in bundle.heads().items()}, folder / "heads.safetensors")
    calibration = bundle.calibration
    settings = {
        "labels": list(bundle.labels),
        "stances": list(STANCES),
        "slopes": list(calibration.slopes),
        "intercepts": list(calibration.intercepts),
        "stance_temperature": calibration.stance_temperature,
        "prefix": reading.prefix,
        "max_length": reading.max_length,
        "made_from": bundle.model_id,
    }
    (folder / "heads.json").write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    beside = _BESIDE if bundle.linear_part() is not None else ""
    (folder / "README.md").write_text(_README.format(name=bundle.name, model_id=bundle.model_id, beside=beside), encoding="utf-8")
    return folder
