"""The folders of a run's validations: RUN/validation/step_00001000 holds that of step 1000."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from stmask.errors import DataError
from stmask.files import atomic_open, require_file

METRICS, CLASSES, RESULTS, SHEET, FILM = "figures.json", "classes.csv", "results.json", "clips.png", "clip.mp4"
TIMES = "videos.csv"  # beside results.json: the seconds that each video took
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


def write_times(path: str | os.PathLike[str], seconds: Mapping[int, float]) -> None:
    """Writes how long each video took, by its id."""
    with atomic_open(path) as file:
        file.write("video_id,seconds\n")
        file.writelines(f"{video_id},{spent:.4f}\n" for video_id, spent in seconds.items())


def read_times(path: str | os.PathLike[str]) -> dict[int, float]:
    """What `write_times` wrote; {} where there is nothing.

    Raises:
        DataError: it can't be read as that.
    """
    require_file(path)
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            return {int(row["video_id"]): float(row["seconds"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is not as evaluation writes it ({type(error).__name__}: {error})") from error
