"""The classes that a checkpoint may name: an explicit table. A name from a file is looked up in it, never imported.

The table holds the parts of stmask's own networks, and whatever the user's own training configuration names. Add a
class of your own in one of three ways:

>>> stmask.register(MyBackbone)          # in a module that is imported anyway, also as a decorator
>>> stmask.load(path, trust=["mypkg.MyBackbone"])   # by name; on the command line trust=[mypkg.MyBackbone]

or by an entry point of its package, of the group "stmask.classes", whose name is the name in the configuration.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from stmask import models
from stmask.errors import ConfigError
from stmask.signatures import locate

ENTRY_POINTS = "stmask.classes"
Kind = Literal["model", "data"]
_T = TypeVar("_T", bound=Callable[..., Any])

# Ours, by what they are for: modules whose `PARTS` are the names that may be given. Each is imported when it is first
# asked for. Every folder of `stmask.models` is one.
_MODELS = tuple(f"{models.__name__}.{found.name}" for found in pkgutil.iter_modules(models.__path__) if found.ispkg)
_HOMES: dict[Kind, tuple[str, ...]] = {
    "model": (*_MODELS, "stmask.tracking", "stmask.ops.nms", "stmask.ops.matching", "stmask.official.quirks"),
    "data": ("stmask.data", "stmask.evaluation.tracking"),
}
_registered: dict[str, Callable[..., Any]] = {}


def register(part: _T, *, name: str | None = None) -> _T:
    """Allows checkpoints to name a class (or function) of yours; returns it, so it also works as a decorator.

    Args:
        part: such as a backbone. It holds for this process: the module that registers it must be imported before a
            checkpoint that names it is read.
        name: as `_target_` has it in the configuration; default module and name of the class.

    Raises:
        ConfigError: a name of stmask's own.
    """
    name = name or f"{part.__module__}.{part.__qualname__}"
    if is_ours(name):
        raise ConfigError(f"{name} is a class of stmask: register yours under another name")
    _registered[name] = part
    return part


def trust(names: Iterable[str | Callable[..., Any]]) -> None:
    """Registers what the user allows by name, which is imported. Not for names that a file gives.

    Raises:
        ConfigError: a name that can't be imported.
    """
    for name in [names] if isinstance(names, str) else names:
        if not isinstance(name, str):
            register(name)
        elif find(name) is None:
            register(locate(name, key="trust"), name=name)


def find(name: str, kind: Kind | None = None) -> Callable[..., Any] | None:
    """The class registered under exactly this name, by stmask for one purpose or by the user; None if there is none."""
    home, _, part = name.rpartition(".")
    if home in _homes(kind) and part in (module := import_module(home)).PARTS:
        found: Callable[..., Any] = getattr(module, part)
        return found
    if name not in _registered:
        for point in entry_points(group=ENTRY_POINTS, name=name):
            _registered[name] = point.load()  # of a package that the user installed
    return _registered.get(name)


def is_ours(name: str) -> bool:
    """Whether the name is one of stmask's own."""
    home, _, part = name.rpartition(".")
    return home in _homes(None) and part in import_module(home).PARTS


def names_of(kind: Kind) -> list[str]:
    """stmask's own names for a purpose."""
    return [f"{home}.{part}" for home in _homes(kind) for part in import_module(home).PARTS]


def _homes(kind: Kind | None) -> tuple[str, ...]:
    return _HOMES["model"] + _HOMES["data"] if kind is None else _HOMES[kind]


HOW_TO_ALLOW = (
    "a class of your own is allowed by trust=[NAME], by stmask.register(CLASS), or by an entry point of its package in "
    f"the group {ENTRY_POINTS} (docs/extending.md)"
)
