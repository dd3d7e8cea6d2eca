"""Formats that a model can be written in. Each module of this package is one, by its name: `SUMMARY`, and
`write(model, path)`, which returns in words what was written. Another format is another file here.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def formats() -> list[str]:
    """The names of the formats."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def export_format(name: str) -> ModuleType:
    """The module of a format, one of `formats()`."""
    return import_module(f"{__name__}.{name}")
