"""One process at a time on one output. On a local disk by a file lock; on object storage, which has none, by a lease.

A lease is a file `owner-….json` in the folder, written again every half minute. Who comes writes its own first and then looks for
others: of two who come at once at least one sees the other. The ages are differences of the storage's own times, so that clocks need
not agree. A lease ends with its job, with its process where that can be looked up (the same machine), and else `LEASE_S` after its
process stopped. A driver that cannot reach the storage for that long may be taken for dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from narratives.errors import JobError
from narratives.storage import Location

LEASE_S = 120.0
_RENEW_S = 30.0

_held: set[str] = set()


@contextlib.contextmanager
def hold(folder: Location, output: Location) -> Iterator[None]:
    """Hold the folder of an output's parts, which is made.

    Raises:
        JobError: another process holds it.
    """
    folder.make_folder()
    if folder.is_remote:
        with _lease(folder, output):
            yield
        return
    with (folder / "lock").local.open("w") as stream:
        if not _take(stream):
            raise JobError(f"{output}: another process is writing it; wait for it, or choose another output")
        yield


def _take(stream: IO[str]) -> bool:
    """A local lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two jobs on one output are not noticed
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _lease(folder: Location, output: Location) -> Iterator[None]:
    mine = folder / f"owner-{uuid.uuid4().hex}.json"
    me = json.dumps({"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid()}).encode()
    _held.add(mine.name)
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(_RENEW_S):
            with contextlib.suppress(OSError):
                mine.write(me)

    renewer = threading.Thread(target=renew, name="narratives-lease", daemon=True)
    try:
        mine.write(me)
        _refuse_others(folder, mine, output)
        renewer.start()
        yield
    finally:
        stop.set()
        if renewer.ident is not None:
            renewer.join()
        _held.discard(mine.name)
        with contextlib.suppress(OSError):
            mine.delete()


def _refuse_others(folder: Location, mine: Location, output: Location) -> None:
    now = mine.modified()
    for name in folder.names():
        if not name.startswith("owner-") or name == mine.name:
            continue
        other = folder / name
        try:
            age = now - other.modified()
            owner = json.loads(other.read())
        except (FileNotFoundError, ValueError):
            continue  # it has just ended, or is no lease
        if age < LEASE_S and not _is_dead(owner, name):
            raise JobError(
                f"{output}: another process is writing it (on {owner['host']}, process {owner['pid']}, {age:.0f} s ago); wait for it, "
                f"or choose another output. If that process is dead, run this again in {LEASE_S / 60:.0f} minutes"
            )
        other.delete()


def _is_dead(owner: dict[str, object], name: str) -> bool:
    """Whether it surely is: another machine's processes cannot be looked up."""
    if not owner["boot"] or (owner["host"], owner["boot"]) != (socket.gethostname(), _boot()):
        return False
    pid = owner["pid"]
    if not isinstance(pid, int) or pid == os.getpid():
        return name not in _held
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _boot() -> str:
    """Which start of which machine this is; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
