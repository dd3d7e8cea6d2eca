"""`stmask data <verb>`: the verbs are the modules `data_<verb>` beside this one, each with SUMMARY and main."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

import stmask.commands
from stmask.errors import ConfigError

SUMMARY = "make, check and convert datasets in YouTube-VIS format"
_PREFIX = "data_"


def _verbs() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(stmask.commands.__path__))
    return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))


def _load(verb: str) -> ModuleType:
    return importlib.import_module(f"stmask.commands.{_PREFIX}{verb}")


def _help() -> str:
    verbs = _verbs()
    width = max(len(verb) for verb in verbs)
    lines = [f"  {verb:<{width}}  {_load(verb).SUMMARY}" for verb in verbs]
    return "\n".join(["usage: stmask data <verb> [options]", "", SUMMARY + ":", "", *lines, ""])


def main(argv: Sequence[str]) -> int:
    """Runs one verb; without one, or with --help, lists them."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    verb, *rest = argv
    if verb not in _verbs():
        raise ConfigError(f"no command `stmask data {verb}`, there are {', '.join(_verbs())}")
    return int(_load(verb).main(rest))
