"""Files written whole or not at all, and read with one clear error."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stmask.errors import DataError, OutputError

_UMASK_FREE_MODE = 0o644  # mkstemp makes private files; results are meant to be shared


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any failure.

    The temporary name keeps the suffix of `path`, so that writers that look at it (video, image) still work.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=f".tmp{target.suffix}")
        os.close(handle)
    except FileExistsError as error:  # what `mkdir` says of a file in the way
        raise OutputError(f"cannot write {target}: {target.parent} is not a folder") from error
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(_UMASK_FREE_MODE)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for "w" and "wb", but `path` appears only when the block ends without an error."""
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    with atomic_path(path) as temporary, temporary.open(mode, encoding=None if "b" in mode else "utf-8") as handle:
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
