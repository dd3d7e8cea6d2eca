"""Families of commands: modules `<family>_<member>` in this package, each with SUMMARY and main."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

import stmask.commands
from stmask.errors import ConfigError


def run_member(family: str, argv: Sequence[str], *, member: str, summary: str) -> int:
    """Runs `stmask <family> <member> ...`; without a member, or with --help, lists them all.

    Args:
        family: the command, the prefix of its modules.
        argv: arguments after the command's name.
        member: the placeholder for a member in the usage line.
        summary: of the command.

    Raises:
        ConfigError: there is no such member.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_help(family, member=member, summary=summary))
        return 0
    name, *rest = argv
    if name not in members(family):
        raise ConfigError(f"no `stmask {family} {name}`, there are {', '.join(members(family))}")
    return int(_load(family, name).main(rest))


def members(family: str) -> list[str]:
    """The names of a family's commands; empty if `family` is not a family."""
    prefix = f"{family}_"
    names = (module.name for module in pkgutil.iter_modules(stmask.commands.__path__))
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def completions(family: str, typed: str) -> list[str]:
    """What may come next on a command line: a family's commands, or the arguments of one that can say them.

    Args:
        family: as of `members`.
        typed: all after the family's name.
    """
    name, *words = typed.split(" ")
    if not words:
        return [member for member in members(family) if member.startswith(name)]
    complete = getattr(_load(family, name), "complete", None) if name in members(family) else None
    return [] if complete is None else list(complete(words))


def _load(family: str, name: str) -> ModuleType:
    return importlib.import_module(f"stmask.commands.{family}_{name}")


def _help(family: str, *, member: str, summary: str) -> str:
    names = members(family)
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {_load(family, name).SUMMARY}" for name in names]
    return "\n".join([f"usage: stmask {family} <{member}> [options]", "", f"{summary}:", "", *lines, ""])
