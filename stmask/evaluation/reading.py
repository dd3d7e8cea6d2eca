"""Reads large files without a copy and without garbage collector pauses."""

from __future__ import annotations

import gc
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from stmask.files import open_json, parse_json


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


def _mapped_text(handle: BinaryIO) -> str:
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
