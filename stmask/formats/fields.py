"""Reads single values of an entry of an annotation or results file: integers, names, numbers."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST_INTEGER = 2**63 - 1  # what a column of ids can hold
WRONG_VALUE = "a value that cannot be used"
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_PART, _LONGEST_NAME = 255, 4095  # longest file name and path in bytes that file systems accept
_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = 60


class EntryError(ValueError):
    """Something wrong with one entry of a file.

    The message continues the entry's name: f"annotations[3]{error}". `kind` describes the mistake for all such entries.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class MissingKeyError(EntryError):
    """An entry is not an object, or lacks a key that it needs."""


def shown(value: Any) -> str:
    """A value of a JSON file for a message, always short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _shortener.repr(value)


def kind_name(value: Any) -> str:
    """The kind of a value of a JSON file, for a message."""
    return "null" if value is None else type(value).__name__


def whole_number(value: Any) -> int | None:
    """The integer that a value represents: a JSON integer, or a float such as 96.0. None for all else, even true."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def integer(entry: Mapping[str, Any], key: str, *, minimum: int = 0, maximum: int = LARGEST_INTEGER) -> int:
    """The integer under an existing key; raises `EntryError`."""
    number = whole_number(entry[key])
    if number is None or not minimum <= number <= maximum:
        bounds = f" of at least {minimum}" if minimum >= 0 else ""
        bounds = bounds if number is None or number < minimum else f" of at most {maximum}"
        raise EntryError(WRONG_VALUE, f": {key!r} must be an integer{bounds}, got {shown(entry[key])}")
    return number


def require_keys(entry: Any, keys: Sequence[str], *, kind: str, needed: str = "") -> Mapping[str, Any]:
    """The entry, which is an object with these keys.

    Args:
        kind: of the error where a key is missing.
        needed: what an entry needs, for the message, if not just the keys.

    Raises:
        MissingKeyError: it is not.
    """
    if not isinstance(entry, Mapping):
        raise MissingKeyError(kind, f" must be an object, got {kind_name(entry)}")
    for key in keys:
        if key not in entry:
            needed = needed or " and ".join((", ".join(map(repr, keys[:-1])), repr(keys[-1]))).removeprefix(" and ")
            raise MissingKeyError(kind, f" needs {needed}, it has no {key!r}")
    return entry


def class_name(entry: Mapping[str, Any]) -> str:
    """The name of a category: text that can be printed, drawn and written; raises `EntryError`."""
    name = entry["name"]
    if not isinstance(name, str):
        raise EntryError(WRONG_VALUE, f": 'name' must be text, got {shown(name)}")
    if found := _UNFIT.search(name):
        raise EntryError(WRONG_VALUE, f": 'name' is {name!a}, which holds {_named(found[0])}")
    return name


def file_name(name: Any) -> str:
    """The name of a frame, a path below the folder of frames.

    Dataset files come from elsewhere: they may only name files in their own folder.

    Raises:
        ValueError: it is not such a path; the message continues "file name".
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{shown(name)} is not text")
    if name.isascii() and name.isprintable() and name[0] != "/" and ".." not in name and len(name) <= _LONGEST_PART:
        return name
    if found := _UNFIT.search(name):
        raise ValueError(f"{name[:60]!a} holds {_named(found[0])}")
    if name.startswith("/"):
        raise ValueError(f"{shown(name)} is an absolute path: file names are relative to the folder of frames")
    parts = name.split("/")
    if ".." in parts:
        raise ValueError(f"{shown(name)} leaves the folder of frames ('..')")
    if max(len(part.encode()) for part in parts) > _LONGEST_PART or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"{shown(name)} is too long: no file can have that name")
    return name


def _named(character: str) -> str:
    if character == "\0":
        return "a NUL character"
    return "half of a surrogate pair" if character > "\x7f" else "a control character"
