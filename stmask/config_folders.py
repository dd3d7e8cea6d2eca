"""Folders that Hydra makes before a command has begun, and that go again if the command is refused.

`${folder:PATH}` in a configuration is a folder that is about to be made, with the home folder for `~`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from stmask.errors import ConfigError, DataError
from stmask.files import at_home, read_json

_RESOLVER = "folder"
_STATUS = "status.json"
_BEFORE_A_RUN = frozenset({".hydra", ".lock", "multirun.yaml", _STATUS})
_missing: dict[Path, list[Path]] = {}  # of each `${folder:PATH}`, which folders above it were not there


def discard_empty_folder(folder: Path, *, log: str) -> None:
    """Removes a folder of a run or sweep that ended before it began, and those above it that were made for it.

    One that holds more, or in which another run is beginning, stays.

    Args:
        folder: absolute.
        log: name of the file of messages in it.
    """
    if not folder.is_dir() or not {entry.name for entry in folder.iterdir()} <= {*_BEFORE_A_RUN, log}:
        return
    status = folder / _STATUS
    try:
        if status.exists() and read_json(status)["state"] == "running":
            return
    except (DataError, KeyError, TypeError):  # not a run's: someone else's file
        return
    shutil.rmtree(folder, ignore_errors=True)
    for above in _missing.get(folder, []):
        if any(above.iterdir()):
            return
        above.rmdir()


@contextmanager
def discarding_empty_folders(*, log: str) -> Iterator[None]:
    """`discard_empty_folder` for each `${folder:PATH}` of the block, if that ends with an error; not for kept ones."""
    _missing.clear()
    try:
        yield
    except BaseException:
        for folder in list(_missing):
            discard_empty_folder(folder, log=log)
        raise


def keep_folder(folder: Path) -> None:
    """What a folder is for has begun: it stays, whatever comes."""
    _missing.pop(folder.absolute(), None)


def _about_to_be_made(path: str | None) -> str:
    if path in (None, ""):
        raise ConfigError("the folder of a run needs a path: leave output_dir out, or give output_dir=PATH")
    folder = Path(at_home(str(path))).absolute()
    _missing.setdefault(folder, [above for above in folder.parents if not above.exists()])
    return str(folder)


OmegaConf.register_new_resolver(_RESOLVER, _about_to_be_made, replace=True)
