"""Parses the options of commands that are not Hydra applications."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from stmask.errors import ConfigError

_OVERRIDE = re.compile(r"unrecognized arguments:.*?(--[\w./]+=\S*)", re.DOTALL)
_HOME = re.compile(r"(?P<option>--[\w-]+=)?(?P<path>~(/.*)?)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors, like all others here, that expands `~/` to the home folder.

    Options must be written out in full: an abbreviation that is unique today may be ambiguous tomorrow.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError with what is wrong and where the options are listed."""
        takes_overrides = any("KEY=VALUE" in str(action.metavar) for action in self._actions)
        if takes_overrides and (found := _OVERRIDE.search(message)):
            from stmask.config import hyphenated

            raise ConfigError(hyphenated(found[1]))
        raise ConfigError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse, with `~` expanded, which shells do not do in `--option=~/x`."""
        return super().parse_known_args(None if args is None else [_at_home(word) for word in args], namespace)


def _at_home(word: str) -> str:
    found = _HOME.fullmatch(word)
    if not found:
        return word
    from stmask.files import at_home

    return (found["option"] or "") + at_home(found["path"])
