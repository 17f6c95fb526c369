"""mkdocs hook: the plan of mkdocs.yml names a page for each task; those that are not written yet are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    config["nav"] = _present(config["nav"], Path(config["docs_dir"]))
    return config


def _present(items: list[Any], folder: Path) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if isinstance(item, str):
            kept += [item] if (folder / item).is_file() else []
            continue
        [(title, target)] = item.items()
        if isinstance(target, list):
            kept.append({title: _present(target, folder)})
        elif (folder / target).is_file():
            kept.append(item)
    return kept
