"""Reads a large JSON object member by member, so that its lists are never in memory as Python objects."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from stmask.errors import DataError
from stmask.files import JSON, open_json

_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_NUMBER = tuple(" \t\n\r,]}")
_CHUNK = 1 << 22  # characters


def stream_object(path: str | os.PathLike[str], lists: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    """Yields (key, None, value) for each member of the JSON object in a file.

    A member whose key is in `lists` and whose value is a list comes as (key, 0, element), (key, 1, element), ..., after
    one (key, None, []) that announces the list.

    Raises:
        DataError: the file is missing, unreadable, not JSON (with line and column), or not an object.
    """
    with open_json(path) as file:
        try:
            yield from _members(_Cursor(io.TextIOWrapper(file, encoding="utf-8")), lists)
        except _SyntaxError as error:
            raise DataError(f"{Path(path)} {error}") from error


class _SyntaxError(Exception):
    """The text is not what was expected; the message says what was found."""


class _Cursor:
    """A position in a JSON text that moves from token to token, reading the file as it goes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""  # a window of the file
        self._position = 0  # in the window
        self._lines = 0  # complete lines before the window
        self._column = 0  # characters of the last of them, where the window starts inside a line

    def _read_on(self) -> bool:
        """Drops what has been read, and extends the window; False at the end of the file."""
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._position))  # doubles for a long value
        if not chunk:
            return False
        passed = self._text[: self._position]
        newline = passed.rfind("\n")
        self._lines += passed.count("\n")
        self._column = self._column + len(passed) if newline < 0 else len(passed) - newline - 1
        self._text, self._position = self._text[self._position :] + chunk, 0
        return True

    def error(self, offset: int | None = None) -> _SyntaxError:
        """The error for a mistake at a position in the window, by default the current one."""
        passed = self._text[: self._position if offset is None else offset]
        newline = passed.rfind("\n")
        column = self._column + len(passed) if newline < 0 else len(passed) - newline - 1
        return _SyntaxError(f"is not valid JSON (line {self._lines + passed.count(chr(10)) + 1}, column {column + 1})")

    def peek(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text) or not self._read_on():
                return self._text[self._position : self._position + 1]

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.error()
        self._position += 1

    def value(self) -> Any:
        """The value that starts here."""
        self.peek()
        while True:
            try:
                found, end = JSON.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:  # wrong, or cut off by the end of the window
                if not self._read_on():
                    raise self.error(error.pos) from None
            else:
                # A number may be cut off too: it is complete only if what follows cannot belong to it.
                whole = not isinstance(found, (int, float)) or self._text[end : end + 1] in _AFTER_NUMBER
                if whole or not self._read_on():
                    self._position = end
                    return found

    def key(self) -> str:
        """The name that starts here."""
        if self.peek() != '"':
            raise self.error()
        return str(self.value())

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


def _members(cursor: _Cursor, lists: Collection[str]) -> Iterator[tuple[str, int | None, Any]]:
    if not cursor.peek():
        raise _SyntaxError(f"{cursor.error()}: it is empty")
    if cursor.peek() != "{":
        raise _SyntaxError("does not start with '{', it is not an annotation file")
    seen: set[str] = set()
    for _ in cursor.items("{", "}"):
        key = cursor.key()
        if key in seen:
            raise _SyntaxError(f"has the key {key[:60]!a} twice in one object")
        seen.add(key)
        cursor.expect(":")
        if key in lists and cursor.peek() == "[":
            yield key, None, []
            for index in cursor.items("[", "]"):
                yield key, index, cursor.value()
        else:
            yield key, None, cursor.value()
    if cursor.peek():
        raise cursor.error()
