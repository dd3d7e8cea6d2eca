"""Reads a large JSON object member by member, so that its lists are never held in memory as Python objects."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from stmask.errors import DataError

_decoder = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def stream_object(path: str | os.PathLike[str], lists: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    """Yields (key, None, value) for each member of the JSON object in a file.

    A member whose key is in `lists` and whose value is a list comes as (key, 0, element), (key, 1, element), ..., after
    one (key, None, []) that says that the list is there.

    Raises:
        DataError: the file is missing, unreadable, not JSON (with line and column), or not an object.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not valid JSON") from error
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror or error}") from error
    try:
        yield from _members(text, lists)
    except json.JSONDecodeError as error:
        raise DataError(f"{source} is not valid JSON (line {error.lineno}, column {error.colno})") from error
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error


class _Cursor:
    """A place in a JSON text, moved from token to token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        """The next character that is not white space, "" at the end."""
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.text[self.position : self.position + 1]

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise json.JSONDecodeError(f"Expecting {character!r}", self.text, self.position)
        self.position += 1

    def value(self) -> Any:
        self.peek()
        try:
            found, self.position = _decoder.raw_decode(self.text, self.position)
        except RecursionError:
            raise json.JSONDecodeError("Nested too deeply", self.text, self.position) from None
        return found

    def items(self, opening: str, closing: str) -> Iterator[int]:
        """Counts the elements between two brackets; the caller consumes each one."""
        self.expect(opening)
        index = 0
        while self.peek() != closing:
            if index:
                self.expect(",")
            yield index
            index += 1
        self.expect(closing)


def _members(text: str, lists: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    cursor = _Cursor(text)
    if cursor.peek() not in ("{", ""):
        json.loads(text)  # says where, if it is no JSON at all
        raise ValueError("expected a JSON object at the top level")
    for _ in cursor.items("{", "}"):
        key = cursor.value()
        cursor.expect(":")
        if key in lists and cursor.peek() == "[":
            yield key, None, []
            for index in cursor.items("[", "]"):
                yield key, index, cursor.value()
        else:
            yield key, None, cursor.value()
    if cursor.peek():
        raise json.JSONDecodeError("Extra data", text, cursor.position)
