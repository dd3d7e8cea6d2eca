"""Large files, read without a copy and without the pauses of the garbage collector."""

from __future__ import annotations

import gc
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stmask.files import read_json


@contextmanager
def collector_paused() -> Iterator[None]:
    """While many objects are made that all stay, the collector would look at them again and again and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_large_json(path: str | os.PathLike[str]) -> Any:
    """As `read_json`, with the same errors, but straight from the system's copy of the file."""
    try:
        with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            text = str(content, "utf-8")
        return json.loads(text)
    except (OSError, ValueError):  # no such file, a pipe, an empty file, no JSON
        return read_json(path)
