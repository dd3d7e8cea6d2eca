"""The table of published weights, weights.csv: what they are called, where they lie and what they may be used for."""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stmask.errors import ConfigError

_TABLE = Path(__file__).with_name("weights.csv")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A row of the table.

    Attributes:
        name: what it is asked for by.
        file: its name in the cache, and at a mirror; letters, digits, `_`, `-` and dots.
        address: where its authors published it.
        serves: what it can be given as: "checkpoint", "init_from", "backbone"; empty if stmask does not read it.
        sha256: its SHA-256, or the first digits that the authors put in its name; empty where they published none.
        megabytes: as the authors state it; empty where they do not.
        licence: of the repository that published it.
        about: the network, what it was trained on, and the authors' own numbers.
        warning: what to know before it is used.
        tried: the day on which the address was last fetched from by us; empty for never.
    """

    name: str
    file: str
    address: str
    serves: tuple[str, ...]
    sha256: str
    megabytes: str
    licence: str
    about: str
    warning: str
    tried: str


@cache
def _rows() -> dict[str, PublishedFile]:
    with _TABLE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {row["name"]: PublishedFile(serves=tuple(row.pop("serves").split()), **row) for row in rows}


def names() -> list[str]:
    """All names, in the order of the table."""
    return list(_rows())


def find(name: str) -> PublishedFile:
    """The file of a name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name in _rows():
        return _rows()[name]
    near = nearest_name(name)
    hint = f"did you mean {near}?" if near else "`stmask weights list` has all of them"
    raise ConfigError(f"no published weights are called {name!r}; {hint}")


def nearest_name(word: str) -> str | None:
    """The name that a misspelt one, or a file's, most likely means."""
    lower = {name.lower(): name for name in _rows()}
    plain = word.lower().removesuffix(".pth")
    near = difflib.get_close_matches(plain, lower, n=1, cutoff=0.8)
    return lower[near[0]] if near else None
