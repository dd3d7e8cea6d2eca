"""The folder that downloads are kept in, and the SHA-256 of each file in it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stmask.errors import ConfigError, DownloadError, OutputError
from stmask.files import atomic_open

VARIABLE = "STMASK_CACHE"
_RECORD = ".sha256"
_LINE = re.compile(r"([0-9a-f]{64})\s")
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where downloads are kept: `STMASK_CACHE`, else `stmask` in the platform's folder for what can be fetched again.

    Raises:
        ConfigError: there is neither a variable nor a home folder.
    """
    given = os.environ.get(VARIABLE)
    try:
        return (Path(given).expanduser() if given else _platform_folder() / "stmask").absolute()
    except RuntimeError as error:
        raise ConfigError(f"no home folder to keep downloads in: set {VARIABLE}=FOLDER") from error


def _platform_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"  # its specification: a relative one is ignored


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def record_of(path: Path) -> Path:
    """The file beside a download that keeps its SHA-256, in the format of `sha256sum`."""
    return path.with_name(path.name + _RECORD)


def recorded(path: Path) -> str | None:
    """The SHA-256 that a file had when it was first used; None where that was never.

    Raises:
        DownloadError: the record is damaged.
    """
    try:
        found = _LINE.match(record_of(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DownloadError(f"cannot read {record_of(path)}: {error}") from error
    if found is None:
        raise DownloadError(f"{record_of(path)} is damaged: remove it, and the file's SHA-256 is recorded again")
    return found[1]


def record(path: Path, digest: str) -> None:
    """Keeps the SHA-256 of a file; in a folder that is shared and may only be read that is left to its owner."""
    try:
        with atomic_open(record_of(path)) as handle:
            handle.write(f"{digest}  {path.name}\n")
    except OutputError as error:
        _log.warning("the SHA-256 of %s is not recorded: %s", path, error)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from fetching the same file during the block; makes its folder.

    Raises:
        OutputError: the folder can't be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("waiting for another process, which fetches %s", path.name)
            lock.acquire()
    except OSError as error:
        raise OutputError(
            f"cannot write in {path.parent}: {error.strerror or error}; {VARIABLE}=FOLDER keeps downloads elsewhere"
        ) from error
    try:
        yield
    finally:
        lock.release()
