"""`KEY=VALUE` as people type it, for Hydra's grammar: paths, names and words go in as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from stmask.config_paths import is_path_key
from stmask.errors import ConfigError
from stmask.files import at_home
from stmask.hydra_private import is_sweep, parse

_OVERRIDE = re.compile(r"(?P<head>\+{0,2}(?P<key>[A-Za-z_][\w.$-]*)=)(?P<value>.*)", re.DOTALL | re.ASCII)
_PIECES = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[\]{}(),]|[^\[\]{}(),"']+|.""", re.DOTALL)
_OPENING, _CLOSING = "[{(", "]})"
_NOTHING = "None"  # which an agent of a W&B sweep writes for null
_QUOTES = "\"'"
_UNREADABLE = object()


def as_hydra_reads(overrides: Sequence[str], *, texts: Collection[str] = (), sweep: bool = False) -> list[str]:
    """Quotes the values that Hydra's grammar could not read, or would read as something else than the text they are.

    What Hydra reads already, in quotes or as a list, a dict or a function, stays. `~` at the beginning of a path
    becomes the home folder. Doing it twice changes nothing more.

    Args:
        overrides: of a command line.
        texts: keys whose values are texts, besides those of paths: `name=1.50` and `name=a,b` mean just that.
        sweep: a comma separates the values of several runs.

    Raises:
        ConfigError: a path of a user who does not exist, or a comma that may be either; the argument to type is named.
    """
    return [_readable(override, texts, sweep) for override in overrides]


def _readable(override: str, texts: Collection[str], sweep: bool) -> str:
    found = _OVERRIDE.fullmatch(override)
    if not found:
        return override
    head, key, value = found["head"], found["key"], found["value"]
    is_text = is_path_key(key) or key in texts
    values = _split(value) if sweep else [value]
    return head + ",".join(_one_value(text, key=key, is_text=is_text, sweep=sweep) for text in values)


def _one_value(text: str, *, key: str, is_text: bool, sweep: bool) -> str:
    if text == _NOTHING and not is_text:
        return "null"
    value = _parsed(text)
    if isinstance(value, str) and text.lstrip().startswith(tuple(_QUOTES)):
        path = at_home(value, key) if is_path_key(key) else value
        return text if path == value else quoted(path)
    if value is not _UNREADABLE:
        means_itself = value is None or isinstance(value, (list, dict)) or is_sweep(value) or value == text
        return quoted(text) if is_text and (is_sweep(value, of_commas=True) or not means_itself) else text
    if text[:1] in ("[", "{") and _parsed(mended := _with_quoted_words(text)) is not _UNREADABLE:
        return mended
    if sweep and "," in text:
        one = argument(key, text)
        raise ConfigError(f"{key}={text}: with several runs, a comma separates values; {one} is one value")
    return quoted(at_home(text, key) if is_path_key(key) else text)


@cache
def _parsed(text: str) -> Any:
    """A value as Hydra reads it, or _UNREADABLE."""
    from hydra.errors import HydraException

    try:
        return parse(f"key={text}").value()
    except HydraException:
        return _UNREADABLE


def in_brackets(override: str, lists: Collection[str]) -> str:
    """An override of a list by one value, or several with commas, as a list: format=video,csv."""
    key, equals, value = override.partition("=")
    bare = equals and value and value != "null" and not value.startswith("[")
    return f"{key}=[{value}]" if bare and key in lists else override


def quoted(text: str) -> str:
    """A text as a value of an override, whatever characters it has."""
    quote = "'" if '"' in text else '"'
    escaped = re.sub(rf"(\\*)({quote}|\Z)", lambda found: found[1] * 2 + (found[2] and f"\\{quote}"), text)
    return f"{quote}{escaped}{quote}"


def argument(key: str, text: str) -> str:
    """What to type in a shell so that a key gets a text."""
    import shlex

    return shlex.quote(f"{key}={quoted(text)}")


def _split(text: str) -> list[str]:
    """The parts between those commas that stand in no quotes and brackets."""
    parts, depth = [""], 0
    for piece in _PIECES.findall(text):
        depth += (piece in _OPENING) - (piece in _CLOSING)
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _with_quoted_words(text: str) -> str:
    """A list or dict with quotes around each word in it that Hydra could not read."""
    pieces: list[str] = []
    open_brackets = ""
    for piece in _PIECES.findall(text):
        if piece in (*_OPENING, *_CLOSING, ",") or piece[0] in _QUOTES:
            open_brackets = open_brackets + piece if piece in _OPENING else open_brackets
            open_brackets = open_brackets[:-1] if piece in _CLOSING else open_brackets
            pieces.append(piece)
            continue
        name, colon, word = piece.partition(":") if open_brackets[-1:] == "{" else ("", "", piece)
        bare = word.strip()
        pieces.append(name + colon + (quoted(bare) if bare and _parsed(bare) is _UNREADABLE else word))
    return "".join(pieces)
