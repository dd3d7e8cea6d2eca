"""Formats that a model can be written in. Each module of this package is one, by its name: `SUMMARY`, `SUFFIX`, the
ending of its files, and `write(model, path)`, which returns in words what was written. Another format is another file
here; a module whose name begins with `_` is none.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

from stmask.errors import ConfigError


def formats() -> list[str]:
    """The names of the formats."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def export_format(name: str) -> ModuleType:
    """The module of a format, one of `formats()`."""
    return import_module(f"{__name__}.{name}")


def format_for(path: str) -> str:
    """The name of the format that a file's ending says.

    Raises:
        ConfigError: another ending; those that there are are named.
    """
    endings = {export_format(name).SUFFIX: name for name in formats()}
    suffix = Path(path).suffix.lower()
    if suffix not in endings:
        known = ", ".join(f"{ending} ({name})" for ending, name in endings.items())
        raise ConfigError(f"{path}: the ending says the format, and is one of {known}; or give --format")
    return endings[suffix]
