"""The folders of a run's validations: RUN/validation/step_00001000 holds that of step 1000."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

METRICS, CLASSES, RESULTS, SHEET, FILM = "figures.json", "classes.csv", "results.json", "clips.png", "clip.mp4"
_PREFIX = "step_"


def record_folder(folder: Path, step: int) -> Path:
    """Where the validation at a step is recorded."""
    return folder / f"{_PREFIX}{step:08d}"


def record_folders(folder: str | os.PathLike[str]) -> Iterator[tuple[int, Path]]:
    """The steps and folders of the validations that are recorded in a folder, in order."""
    for path in sorted(Path(folder).glob(f"{_PREFIX}*")):
        step = path.name.removeprefix(_PREFIX)
        if step.isdigit() and (path / METRICS).exists():
            yield int(step), path
