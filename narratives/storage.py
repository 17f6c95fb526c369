"""Where files stand: a local path, or `s3://…` and `gs://…` through pyarrow's filesystems. One value, `Location`, for both.

Local files are handled by Python alone, so that errors carry their errno; pyarrow's filesystems are imported only for a remote
location. Credentials come from where these filesystems look: the environment and the machine's role.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from narratives.errors import ConfigError

_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]+)://")
_COPY_BYTES = 2**20
_HEAD_BYTES = 2**22


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A file or folder. `text` is as the user gave it; what follows "?" in a URI are options of its filesystem."""

    text: str

    @classmethod
    def of(cls, given: str | Path | Location) -> Location:
        return given if isinstance(given, Location) else cls(str(given).removeprefix("file://"))

    def __str__(self) -> str:
        return self.text

    @property
    def is_remote(self) -> bool:
        return _SCHEME.match(self.text) is not None

    @property
    def name(self) -> str:
        return Path(self._split()[0]).name

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def local(self) -> Path:
        """The path of a local file or folder."""
        return Path(self.text)

    def __truediv__(self, name: str) -> Location:
        base, options = self._split()
        return Location(f"{base.rstrip('/')}/{name}{options}" if self.is_remote else str(self.local / name))

    def with_name(self, name: str) -> Location:
        if not self.is_remote:
            return Location(str(self.local.with_name(name)))
        base, options = self._split()
        return Location(f"{base.rstrip('/').rsplit('/', 1)[0]}/{name}{options}")

    def _split(self) -> tuple[str, str]:
        base, mark, options = self.text.partition("?") if self.is_remote else (self.text, "", "")
        return base, mark + options

    def _remote(self) -> tuple[Any, str]:
        """pyarrow's filesystem and the path in it."""
        base, options = self._split()
        scheme, rest = base.split("://", 1)
        authority, _, key = rest.partition("/")
        filesystem, root = _filesystem(f"{scheme}://{authority}/{options}")
        return filesystem, f"{root.rstrip('/')}/{key.strip('/')}"

    def filesystem(self) -> tuple[Any, str]:
        """pyarrow's filesystem and the path in it, of local locations too: for libraries that want these."""
        if self.is_remote:
            return self._remote()
        from pyarrow import fs

        return fs.LocalFileSystem(), str(self.local.absolute())

    def _kind(self) -> str:
        filesystem, path = self._remote()
        return cast(str, filesystem.get_file_info(path).type.name)

    def is_file(self) -> bool:
        return self._kind() == "File" if self.is_remote else self.local.is_file()

    def is_folder(self) -> bool:
        return self._kind() == "Directory" if self.is_remote else self.local.is_dir()

    def size(self) -> int:
        """Bytes of a file."""
        if not self.is_remote:
            return self.local.stat().st_size
        filesystem, path = self._remote()
        return cast(int, filesystem.get_file_info(path).size)

    def modified(self) -> float:
        """When a file was last written, in seconds, by the clock of the place where it stands."""
        if not self.is_remote:
            return self.local.stat().st_mtime
        filesystem, path = self._remote()
        info = filesystem.get_file_info(path)
        if info.mtime is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.text)
        return cast(float, info.mtime.timestamp())

    def names(self) -> list[str]:
        """Names of the files in a folder, sorted; none if there is no such folder."""
        if not self.is_remote:
            try:
                with os.scandir(self.local) as entries:
                    return sorted(entry.name for entry in entries if entry.is_file())
            except FileNotFoundError:
                return []
        from pyarrow.fs import FileSelector

        filesystem, path = self._remote()
        found = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type.name == "File")

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Read a file's bytes, from its start to its end."""
        if self.is_remote:
            filesystem, path = self._remote()
            with filesystem.open_input_stream(path, compression=None) as stream:
                yield stream
        else:
            with self.local.open("rb") as stream:
                yield stream

    def read(self) -> bytes:
        with self.open() as stream:
            return stream.read()

    def write(self, data: bytes) -> None:
        """The file whole or not at all: under another name first, then renamed; object storage shows no half-written file."""
        if self.is_remote:
            filesystem, path = self._remote()
            with filesystem.open_output_stream(path, compression=None) as stream:
                stream.write(data)
            return
        scratch = self.local.with_name(self.local.name + ".tmp")
        with scratch.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, self.local)

    def take(self, scratch: Path) -> None:
        """Become a finished local file: renamed where both are local (and on one file system), else sent."""
        if self.is_remote:
            filesystem, path = self._remote()
            with scratch.open("rb") as source, filesystem.open_output_stream(path, compression=None) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            scratch.unlink()
            return
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(scratch, self.local)

    def make_folder(self) -> None:
        if self.is_remote:
            filesystem, path = self._remote()
            bucket = path.partition("/")[0]
            if filesystem.type_name == "gcs" and _is_absent(filesystem, bucket):  # Google's client would create it
                raise FileNotFoundError(errno.ENOENT, f"bucket {bucket!r} not found")
            filesystem.create_dir(path, recursive=True)
        else:
            self.local.mkdir(parents=True, exist_ok=True)

    def delete(self) -> None:
        """A file; it may be gone already."""
        if not self.is_remote:
            self.local.unlink(missing_ok=True)
            return
        filesystem, path = self._remote()
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_file(path)

    def delete_folder(self) -> None:
        """A folder with all that is in it; it may be gone already."""
        if not self.is_remote:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.local)
            return
        filesystem, path = self._remote()
        if self.is_folder():  # of one that is gone, Amazon's client and Google's say different things
            with contextlib.suppress(FileNotFoundError):
                filesystem.delete_dir(path)

    @contextlib.contextmanager
    def local_copy(self) -> Iterator[Path]:
        """The file as a local path: itself, or copied to this machine's temporary folder for as long as it is read."""
        if not self.is_remote:
            yield self.local
            return
        with tempfile.TemporaryDirectory(prefix="narratives-") as folder:
            path = Path(folder, self.name)
            with self.open() as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            yield path

    @property
    def parent(self) -> Location:
        if not self.is_remote:
            return Location(str(self.local.parent))
        base, options = self._split()
        return Location(f"{base.rstrip('/').rsplit('/', 1)[0]}{options}")

    @contextlib.contextmanager
    def local_head(self) -> Iterator[Path]:
        """The file's first megabytes as a local path of the same name: enough to tell its format."""
        with tempfile.TemporaryDirectory(prefix="narratives-") as folder, self.open() as source:
            path = Path(folder, self.name)
            path.write_bytes(source.read(_HEAD_BYTES))
            yield path


def _is_absent(filesystem: Any, bucket: str) -> bool:
    try:
        return cast(str, filesystem.get_file_info(bucket).type.name) == "NotFound"
    except OSError:
        return False  # not everybody who may write to a bucket may look at it


@functools.lru_cache(maxsize=64)
def _filesystem(root: str) -> tuple[Any, str]:
    """One for each bucket: making one may ask the service for the bucket's region."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"{root}: {error}; expected a local path, s3://bucket/key or gs://bucket/key") from error
    return filesystem, path
