"""What a report is about: a run's folder with its best validation, or a results file with its ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stmask.data.layouts import find_annotations, find_frames
from stmask.errors import ConfigError, DataError
from stmask.report.page import Results
from stmask.runs import validations as records
from stmask.runs.history import RunHistory

_IMAGES = "ImageDataModule"
_HEAD = 4096  # bytes, more than any blanks before a JSON text's first bracket


def validation_results(history: RunHistory, *, root: Path | None, frames: Path | None) -> tuple[Results | None, str]:
    """The results of a run's best validation, and what they are scored against; or None and why they can't be scored.

    Args:
        root: of the dataset where it lies elsewhere by now.
        frames: likewise of its frames.
    """
    if not history.validations:
        return None, "No validation was recorded yet, so there is nothing to score."
    file = history.best.folder / records.RESULTS
    if not file.is_file():
        return None, f"{file} is not there, so errors and videos can't be shown."
    data = history.config.get("data")
    data = data if isinstance(data, Mapping) else {}
    if str(data.get("_target_", "")).endswith(_IMAGES):
        return None, "The run is one of images: errors and clips are of videos only."
    try:
        annotations, found = _places(data, root)
    except DataError as error:
        return (
            None,
            f"The videos that the run was validated with can't be found ({error}): data.root=FOLDER says where.",
        )
    return Results(file, annotations, frames or found), ""


def _places(data: Mapping[str, Any], root: Path | None) -> tuple[Path, Path | None]:
    """The annotations and, where they are known, the frames of the validated split."""
    given = {key: data.get(key) for key in ("valid", "root", "valid_annotations", "valid_frames")}
    for key, value in given.items():
        if value is not None and (not isinstance(value, str) or "${" in value):
            raise DataError(f"data.{key} of its config.yaml is not a path")
    split = given["valid"] or "valid"
    base = root or (Path(given["root"]) if given["root"] else None)
    if given["valid_annotations"] and root is None:
        annotations = Path(given["valid_annotations"])
    elif base is not None:
        annotations = find_annotations(base, split)
    else:
        raise DataError("its config.yaml does not say where")
    if not annotations.is_file():
        raise DataError(f"no such file: {annotations}")
    if given["valid_frames"] and root is None:
        return annotations, Path(given["valid_frames"]) if Path(given["valid_frames"]).is_dir() else None
    if base is None:
        return annotations, None
    return annotations, _frames(base, split, annotations)


def _frames(root: Path, split: str, annotations: Path) -> Path | None:
    from stmask.data import VideoDataset

    try:
        return find_frames(root, split, VideoDataset(annotations, root).some_file_names())
    except DataError:
        return None


def results_and_truth(first: Path, second: Path) -> tuple[Path, Path]:
    """Which of two files are the results, a list, and which the ground truth, an object; they come in any order.

    Raises:
        ConfigError: both are the same.
        DataError: one can't be read.
    """
    kinds = {path: _first_letter(path) for path in (first, second)}
    if set(kinds.values()) == {"[", "{"}:
        return (first, second) if kinds[first] == "[" else (second, first)
    if set(kinds.values()) == {"["} or set(kinds.values()) == {"{"}:
        what = "results (lists of tracks)" if "[" in kinds.values() else "ground truth (objects with videos)"
        raise ConfigError(f"{first} and {second} are both {what}; usage: stmask report RESULTS.json GT.json")
    return first, second  # one is not JSON, which is said where it is read


def _first_letter(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()[:1].decode("latin-1")
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
