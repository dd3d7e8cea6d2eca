"""Reads large files without a copy and without garbage collector pauses."""

from __future__ import annotations

import gc
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any

from stmask.files import open_json, parse_json
from stmask.formats.packed import read_packed


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the collector while many permanent objects are made, which it would scan again and again in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_large_json(path: str | os.PathLike[str]) -> Any:
    """As `read_json`, with the same errors, but straight from the system's copy of the file."""
    with open_json(path) as handle:
        return parse_json(_mapped_text(handle) or str(handle.read(), "utf-8"))


def read_tracks_json(path: str | os.PathLike[str]) -> Any:
    """As `read_large_json`, but lists of compressed masks under "segmentations" may come as `PackedTrack`."""
    with open_json(path) as handle:
        text = _rest(handle)
        if (found := read_packed(text)) is not None:
            rest, tracks = found
            with suppress(ValueError, RecursionError, MemoryError):  # else the whole text says what is wrong with it
                decoder = json.JSONDecoder(parse_constant=lambda word: next(tracks) if word == "NaN" else float(word))
                return decoder.decode(str(rest, "utf-8"))
        return parse_json(str(text, "utf-8"))


def _rest(handle: BufferedReader) -> bytes:
    """The rest of a file; not by way of the reader's buffer, which would copy it all."""
    if not handle.seekable():
        return handle.read()
    with open(handle.fileno(), "rb", buffering=0, closefd=False) as file:
        file.seek(handle.tell())
        return file.readall()


def _mapped_text(handle: BufferedReader) -> str:
    """The rest of a file; "" if it cannot be mapped (a pipe) or is empty."""
    try:
        start = handle.tell()
        with (
            mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as whole,
            whole[start:] as rest,
        ):
            return str(rest, "utf-8")
    except UnicodeDecodeError:
        raise
    except (OSError, ValueError):
        return ""
