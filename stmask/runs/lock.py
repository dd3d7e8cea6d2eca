"""The lock of a folder: one run at a time, freed however a process dies."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stmask.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_FILE = ".lock"
_PATIENCE = 1.0  # seconds; who only looks at a folder holds its lock for an instant
_log = logging.getLogger(__name__)
_held: set[int] = set()  # descriptors of this process's locks


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a folder, made where it is missing, for the length of the block; what is made for nothing is removed.

    Raises:
        OutputError: another process holds it, or it cannot be written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror or error}") from error
    _held.add(descriptor)
    try:
        _take(descriptor, folder)
        holder = {"host": socket.gethostname(), "pid": os.getpid()}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        if made and [path.name for path in folder.iterdir()] == [_FILE]:
            shutil.rmtree(folder, ignore_errors=True)
        _held.discard(descriptor)
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        _log.warning("%s: this system has no locks for folders; two runs in one folder go unnoticed", folder)
        return
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > patience:
                raise OutputError(
                    f"{folder} is in use by another run ({_holder(descriptor)}): wait for it, stop it, or give this "
                    "run another output_dir"
                ) from None
            time.sleep(0.05)
        except OSError as error:
            _log.warning("%s: no locks on this disk (%s); two runs in one folder go unnoticed", folder, error.strerror)
            return


def _holder(descriptor: int) -> str:
    try:
        content = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {content['pid']} on {content['host']}"
    except (ValueError, KeyError, TypeError):
        return "its process is not known"


def is_locked(folder: Path) -> bool:
    """Whether a process that is alive holds a folder's lock; never, on a system without locks."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder / _FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _forget_locks() -> None:
    """A forked process (of a data loader) may outlive a run that was killed, and must not hold its lock."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
