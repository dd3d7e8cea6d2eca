"""Folders: listed in natural order, and written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stmask.errors import DataError, OutputError

_DIGITS = re.compile(r"([0-9]+)")
_NEGATIVE = re.compile(r"-[0-9]{1,18}(?![0-9])")
_MACOS = "__MACOSX"  # what macOS adds to zip files
_MODE = 0o755  # mkdtemp makes private folders; datasets are meant to be shared
_NAME_KEPT = 40  # letters of a name that its temporary folder keeps, whose own name must not be too long


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts runs of digits by their value, so that 10 comes after 9; a minus in front of a whole name counts."""
    negative = _NEGATIVE.match(name)
    parts = _DIGITS.split(name[negative.end() :] if negative else name)
    numbers = (part.lstrip("0") for part in parts[1::2])  # longer ones are greater, however long they are
    key = [(1, 0, part) for part in parts]
    key[1::2] = [(0, len(number), number) for number in numbers]
    return [(0, int(negative.group()), ""), *key] if negative else key


def list_folder(folder: str | os.PathLike[str]) -> list[Path]:
    """The entries of a folder in natural order, without hidden files and what macOS adds to zip files.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = [path for path in Path(folder).iterdir() if path.name[0] != "." and path.name != _MACOS]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted(found, key=lambda path: (natural_key(path.name), path.name))


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a new folder beside `path` that takes its place on success and is removed on any failure.

    Raises:
        OutputError: it cannot be made or written to.
    """
    target = Path(path)
    made = [folder for folder in target.parents if not folder.exists()]
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:_NAME_KEPT]}.", suffix=".tmp"))
        new, old = temporary / "new", temporary / "old"
        new.mkdir(mode=_MODE)
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        made = []
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # in use by now, or never made: leave it
            for folder in made:
                folder.rmdir()
