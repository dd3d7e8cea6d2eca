"""`stmask benchmark <what>`: the benchmarks are the modules `benchmark_<what>` beside this one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

import stmask.commands
from stmask.errors import ConfigError

SUMMARY = "measure the time and memory of a part"
_PREFIX = "benchmark_"


def _names() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(stmask.commands.__path__))
    return sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX))


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"stmask.commands.{_PREFIX}{name}")


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark; without one, or with --help, lists them."""
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, _names()))
        lines = [f"  {name:<{width}}  {_load(name).SUMMARY}" for name in _names()]
        print("\n".join(["usage: stmask benchmark <what> [options]", "", SUMMARY + ":", "", *lines]))
        return 0
    name, *rest = argv
    if name not in _names():
        raise ConfigError(f"no `stmask benchmark {name}`, there are {', '.join(_names())}")
    return int(_load(name).main(rest))
