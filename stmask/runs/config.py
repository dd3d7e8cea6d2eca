"""The config.yaml of a run's folder, read as data: a folder may come from anyone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from stmask.errors import DataError
from stmask.files import require_file
from stmask.runs.folder import CONFIG

_LARGEST = 4 << 20  # bytes


class _Loader(yaml.SafeLoader):
    """Without references, which let a small file stand for an endless one; a written configuration has none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are not read")
        return super().compose_node(parent, index)


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration in a file as it stands there: interpolations are text.

    Raises:
        DataError: it can't be read, or is not a configuration.
    """
    require_file(path)
    try:
        with Path(path).open("rb") as handle:
            text = handle.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise DataError(f"{path} is not a configuration")
        content = yaml.load(text, Loader=_Loader)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a configuration") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a configuration")
    return {str(key): value for key, value in content.items()}


def config_beside(checkpoint: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The configuration of the run in whose folder a checkpoint lies; None where it lies elsewhere.

    Raises:
        DataError: it can't be read.
    """
    path = Path(checkpoint).resolve().parent.parent / CONFIG
    return read_config(path) if path.is_file() else None
