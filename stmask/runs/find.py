"""Finds the checkpoint that a run's folder stands for, and the newest run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stmask.errors import CheckpointError
from stmask.runs.folder import BEST, CHECKPOINTS, LAST, status_of


def checkpoint_of(folder: str | os.PathLike[str]) -> Path | None:
    """The best checkpoint of a run's folder, or the last one if nothing was validated; None if it has neither."""
    found = (file for name in (BEST, LAST) if (file := Path(folder) / CHECKPOINTS / name).is_file())
    return next(found, None)


def newest_run(root: str | os.PathLike[str]) -> Path:
    """The folder of the run below `root` that was started last, of those that have a checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    started = [(status_of(folder).started or "", folder) for folder in _runs(root)]
    if not started:
        raise CheckpointError(f"no run with a checkpoint below {Path(root).absolute()}: give checkpoint=RUN_FOLDER")
    return max(started)[1]


def _runs(root: str | os.PathLike[str]) -> Iterator[Path]:
    for place, folders, _ in os.walk(root):
        if checkpoint_of(place) is not None:
            folders.clear()  # runs are not within runs
            yield Path(place)
