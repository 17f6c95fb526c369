"""Every error a caller can meet, in one tree.

    NarrativesError
    ├── ConfigError         (ValueError)   a setting is out of range or contradicts another
    ├── TaxonomyError       (ValueError)   a label file is malformed, or labels do not fit a model
    ├── RecordError         (ValueError)   one record of a file cannot be used: path, line, field
    ├── InputError          (ValueError)   a whole file cannot be read: path
    ├── UnknownName         (ValueError)   a name is not in a table: kind, name, known names
    ├── BundleError         (ValueError)   a trained bundle is incomplete, damaged or foreign: path
    ├── JobError            (RuntimeError) a scoring job cannot go on: output, lock, disk
    ├── MissingDependency   (ImportError)  an optional package is not installed: package, extra
    └── Stale               (in review/store.py, whose decisions it carries) a post was decided on since the page showed it

Each says where, what was found, what was expected and what to do. The command line prints the message
in one line and exits with code 2; any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class NarrativesError(Exception):
    """Base of all errors raised on purpose by this package."""

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross processes; as Python does it, they would be made anew from their message alone.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[NarrativesError], args: tuple[object, ...], attributes: dict[str, object]) -> NarrativesError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigError(NarrativesError, ValueError):
    """A setting is out of its range or contradicts another one."""


class TaxonomyError(NarrativesError, ValueError):
    """A label file is malformed, or its labels do not fit a model."""


class RecordError(NarrativesError, ValueError):
    """One record of a file cannot be used. The file's other records can.

    Args:
        path: the file.
        line: 1-based line or record number in it.
        field: the field at fault, `None` when the record as a whole is broken.
        reason: what was found and what was expected.
    """

    def __init__(self, path: str | Path, line: int, field: str | None, reason: str) -> None:
        self.path = str(path)
        self.line = line
        self.field = field
        self.reason = reason
        where = f'field "{field}" ' if field else ""
        super().__init__(f"{self.path}:{line}: {where}{reason}")


class InputError(NarrativesError, ValueError):
    """A whole input file cannot be read."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")


class UnknownName(NarrativesError, ValueError):
    """A name is not in its table; the message suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(self.known)}.{hint}")


class BundleError(NarrativesError, ValueError):
    """A trained bundle is incomplete, damaged, or made for something else."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")


class JobError(NarrativesError, RuntimeError):
    """A scoring job cannot start or go on; what it finished is kept."""


class MissingDependency(NarrativesError, ImportError):
    """An optional package is needed for this call and is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"this needs the package {package!r}, which is not installed: pip install 'narratives[{extra}]'")
