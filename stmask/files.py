"""Files written whole or not at all, and read with one clear error."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from stmask.errors import DataError, OutputError

_UMASK_FREE_MODE = 0o644  # mkstemp makes private files; results are meant to be shared
_FOLDER_MODE = 0o755  # and so are the folders of mkdtemp
_DIGITS = re.compile(r"([0-9]+)")
_NEGATIVE = re.compile(r"-[0-9]{1,18}(?![0-9])")
_NAME_KEPT = 40  # letters of a name in that of its temporary file, which must not be too long either
_LEFT_OUT = "__MACOSX"  # what macOS adds to zip files


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts runs of digits by their value, so that 10 comes after 9; a minus in front of a whole name counts."""
    negative = _NEGATIVE.match(name)
    parts = _DIGITS.split(name[negative.end() :] if negative else name)
    numbers = (part.lstrip("0") for part in parts[1::2])  # longer ones are greater, however long they are
    key = [(1, 0, part) for part in parts]
    key[1::2] = [(0, len(number), number) for number in numbers]
    return [(0, int(negative.group()), ""), *key] if negative else key


def list_folder(folder: str | os.PathLike[str]) -> list[Path]:
    """What is in a folder, in natural order, without hidden files and what macOS adds to zip files.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = [path for path in Path(folder).iterdir() if path.name[0] != "." and path.name != _LEFT_OUT]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted(found, key=lambda path: (natural_key(path.name), path.name))


@contextmanager
def _folder_for(target: Path) -> Iterator[None]:
    """Makes the folders above `target`; those that are new and still empty do not outlive a failure."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        if isinstance(error, FileExistsError) and not target.parent.is_dir():
            raise OutputError(f"cannot write {target}: {target.parent} is not a folder") from error
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
        raise


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any failure.

    The temporary name keeps the suffix of `path`, so that writers that look at it (video, image) still work.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    with _folder_for(target):
        prefix = f".{target.stem[:_NAME_KEPT]}."
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=f".tmp{target.suffix}")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(_UMASK_FREE_MODE)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a new folder beside `path` that takes its place on success and is removed on any failure.

    Raises:
        OutputError: it cannot be made or written to.
    """
    target = Path(path)
    with _folder_for(target):
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:_NAME_KEPT]}.", suffix=".tmp"))
        new, old = temporary / "new", temporary / "old"
        try:
            new.mkdir(mode=_FOLDER_MODE)
            yield new
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(temporary, ignore_errors=True)


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
