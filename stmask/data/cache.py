"""Indexes cached on disk, one numpy file per column, memory-mapped instead of read.

However large the dataset, opening takes no time, and all worker processes share the same pages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.index import Categories, Index
from stmask.data.reader import read_index
from stmask.errors import DataError, OutputError
from stmask.files import read_json, write_json

_FORMAT = 2  # to be raised when the columns or the accepted files change
_DESCRIPTION = "index.json"


def open_index(path: Path, cache: Path | None) -> tuple[Categories, Index]:
    """The index of an annotation file: from the folder `cache` if up to date there, else read and put there.

    An entry counts only if it was written completely, from this file as it is now (size and time of change).

    Raises:
        DataError: the annotation file is not valid. OutputError: the folder cannot be written to.
    """
    if cache is None:
        return read_index(path)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    folder = cache / f"{path.stem}-{name}"
    source = _fingerprint(path)
    cached = _load(folder, source)
    if cached is None:
        _save(folder, source, *read_index(path))
        cached = _load(folder, source)
    if cached is None:
        raise OutputError(f"the index that was just written to {folder} cannot be read back")
    return cached


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
    except OSError:
        return {}  # reading it will say what is wrong
    return {"format": _FORMAT, "path": str(path.resolve()), "size": status.st_size, "changed": status.st_mtime_ns}


def _save(folder: Path, source: dict[str, Any], categories: Categories, index: Index) -> None:
    """Writes the columns to a temporary folder and moves it into place in one step."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise OutputError(f"cannot write the index to {folder}: {error.strerror or error}") from error
    try:
        sizes = {}
        for field in fields(Index):
            column = fresh / f"{field.name}.npy"
            with column.open("wb") as file:
                np.save(file, getattr(index, field.name))
                file.flush()
                os.fsync(file.fileno())  # or the description could be on disk before the columns are
            sizes[field.name] = column.stat().st_size
        names = {"ids": list(categories.ids), "names": list(categories.names)}
        write_json(fresh / _DESCRIPTION, {"source": source, "categories": names, "sizes": sizes})
        fresh.chmod(0o755)  # mkdtemp makes private folders
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # otherwise another process was faster
            raise OutputError(f"cannot write the index to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _load(folder: Path, source: dict[str, Any]) -> tuple[Categories, Index] | None:
    """The cached index; None if it is missing, incomplete or of another state of the file."""
    try:
        description = read_json(folder / _DESCRIPTION)
        if description["source"] != source:
            return None
        columns = {}
        for field in fields(Index):
            column = folder / f"{field.name}.npy"
            if os.path.getsize(column) != description["sizes"][field.name]:
                return None
            columns[field.name] = _map(column)
        names = description["categories"]
        return Categories(tuple(names["ids"]), tuple(names["names"])), Index(**columns)
    except (DataError, KeyError, OSError, TypeError, ValueError):
        return None


def _map(column: Path) -> Any:
    """A column as a plain array over the mapped file."""
    mapped = np.load(column, mmap_mode="r")
    return np.asarray(mapped)
