"""Which classes a checkpoint may name: an explicit table. A name out of a file is looked up in it, never imported.

The table holds the parts of our own networks. A class of one's own joins it in one of three ways:

>>> stmask.register(MyBackbone)          # in a module that is imported anyway, also as a decorator
>>> stmask.load(path, trust=["mypkg.MyBackbone"])   # by name; on the command line trust=[mypkg.MyBackbone]

or by an entry point of its package, of the group "stmask.classes", whose name is the name in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from stmask.errors import ConfigError
from stmask.signatures import locate

ENTRY_POINTS = "stmask.classes"
Kind = Literal["network", "data", "wrapper"]
_T = TypeVar("_T", bound=Callable[..., Any])

# Ours, by what they are for and by the module that they are imported from when they are first asked for.
_HOMES: dict[Kind, dict[str, tuple[str, ...]]] = {
    "network": {
        "stmask.models": (
            "STMask", "ResNet", "PredictionHead", "NoCalibration", "AdaptiveCalibration", "AlignedCalibration",
            "TemporalFusion",
        ),
        "stmask.official.quirks": ("KernelsFirst",),
        "stmask.official.yolact": ("Yolact",),
    },
    "data": {"stmask.data": ("VISDataModule", "ImageDataModule")},
    "wrapper": {
        "stmask.official.quirks": (
            "unlimited_across_classes", "class_only_per_class", "tanh_twice", "binary_masks",
        ),
    },
}  # fmt: skip
_OURS: dict[Kind, dict[str, tuple[str, str]]] = {
    kind: {f"{home}.{name}": (home, name) for home, names in homes.items() for name in names}
    for kind, homes in _HOMES.items()
}
_registered: dict[str, Callable[..., Any]] = {}


def register(part: _T, *, name: str | None = None) -> _T:
    """Allows checkpoints to name a class (or function) of one's own; returns it, so that it can be a decorator.

    Args:
        part: such as a backbone. It holds for this process: the module that registers it must be imported before a
            checkpoint that names it is read.
        name: as `_target_` has it in the configuration; default module and name of the class.

    Raises:
        ConfigError: a name of stmask's own.
    """
    name = name or f"{part.__module__}.{part.__qualname__}"
    if any(name in ours for ours in _OURS.values()):
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
    """What is registered under exactly this name, of stmask for one purpose or of the user; None if nothing is."""
    for ours in _OURS.values() if kind is None else [_OURS[kind]]:
        if name in ours:
            home, attribute = ours[name]
            part: Callable[..., Any] = getattr(import_module(home), attribute)
            return part
    if name not in _registered:
        for point in entry_points(group=ENTRY_POINTS, name=name):
            _registered[name] = point.load()  # of a package that the user installed
    return _registered.get(name)


def is_ours(name: str) -> bool:
    """Whether it is a name of stmask's own."""
    return any(name in ours for ours in _OURS.values())


def names_of(kind: Kind) -> list[str]:
    """The names of stmask's own for a purpose."""
    return list(_OURS[kind])


HOW_TO_ALLOW = (  # in words
    "a class of your own is allowed by trust=[NAME] of train, evaluate, predict and load, or stmask.register(CLASS)"
)
