"""Files that are made once and kept in the user's cache folder, and digests of files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where made files are kept: `$NARRATIVES_CACHE`, else the user's cache folder. Deleting it is safe."""
    return Path(os.environ.get("NARRATIVES_CACHE") or platformdirs.user_cache_dir("narratives"))


def cached(key: str, name: str, make: Callable[[Path], None]) -> Path:
    """A file of the cache, made if it is not there or not what its sha256 says."""
    folder = cache_folder() / key
    target, seal = folder / name, folder / f"{name}.sha256"
    if target.is_file() and seal.is_file() and seal.read_text() == sha256(target):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be making the same file: each makes its own and the last rename stands.
    handle, scratch = tempfile.mkstemp(prefix=f".{name}-", suffix=Path(name).suffix, dir=folder)
    os.close(handle)
    try:
        make(Path(scratch))
        digest = sha256(Path(scratch))
        os.replace(scratch, target)
        seal.write_text(digest)
    finally:
        Path(scratch).unlink(missing_ok=True)
    return target


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
