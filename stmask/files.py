"""Files written whole or not at all, and read with one clear error."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from stmask.errors import DataError, OutputError

_UMASK_FREE_MODE = 0o644  # mkstemp makes private files; results are meant to be shared
_STEM_LENGTH = 50  # of a temporary name, so that it fits wherever the name itself does


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any failure.

    The temporary name keeps the suffix of `path`, so that writers that look at it (video, image) still work.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    made: list[Path] = []
    temporary: Path | None = None
    try:
        if target.exists() and not target.is_file():  # the rename would fail after the work, or put a file for a device
            raise OutputError(f"cannot write {target}: it is not a file but a folder or a device")
        made = _make_folders(target.parent)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem[:_STEM_LENGTH]}.", suffix=f".tmp{target.suffix}"
        )
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(_UMASK_FREE_MODE)
        temporary.replace(target)
        made = []
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # others may have begun to use it
                folder.rmdir()


def _make_folders(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the new ones, the innermost first."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error
    return new


@contextmanager
def atomic_open(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for "w" and "wb", but `path` appears only when the block ends without an error."""
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    with atomic_path(path) as temporary, temporary.open(mode) as handle:
        yield handle


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON, atomically."""
    with atomic_open(path) as handle:
        json.dump(value, handle, indent=indent)
        handle.write("\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON; the message names it and, for a syntax error, the line.
    """
    source = Path(path)
    try:
        with source.open("rb") as handle:
            return json.load(handle)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{source} is not valid JSON{where}") from error
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror or error}") from error
