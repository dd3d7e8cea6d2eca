"""What a run recorded, read from its folder alone: series of metrics, validations, where they came from."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.errors import DataError
from stmask.files import read_json, require_file
from stmask.runs import validations as records
from stmask.runs.config import read_config
from stmask.runs.folder import CONFIG, METRICS, PERFORMANCE, RECORD, SUMMARY, Status, status_of

_VALID = "valid/"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """N values of one metric, each after `steps` optimiser steps."""

    steps: npt.NDArray[np.int64]
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    def defined(self) -> dict[int, float]:
        """Step to value, without undefined ones (below 0)."""
        return {step: value for step, value in zip(self.steps.tolist(), self.values.tolist()) if value >= 0}


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One row of classes.csv: the numbers of annotated and predicted tracks (or objects), and the defined metrics."""

    name: str
    tracks: int
    predictions: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Validation:
    """The record of one validation.

    Attributes:
        step: optimiser steps before it.
        folder: of the record; `sheet` and `film` are None where nothing was drawn.
        metrics: "AP" and so on; without those that are undefined.
        classes: in the order of the dataset.
    """

    step: int
    folder: Path
    metrics: Mapping[str, float]
    classes: Sequence[ClassMetrics]

    @property
    def sheet(self) -> Path | None:
        return path if (path := self.folder / records.SHEET).exists() else None

    @property
    def film(self) -> Path | None:
        return path if (path := self.folder / records.FILM).exists() else None


@dataclass(frozen=True, slots=True)
class RunHistory:
    """Everything that a run has written so far; of a running one, what it has by now.

    Attributes:
        folder: of the run.
        config: resolved.
        origin: run.json: command, code version, machine.
        status: what status.json says.
        summary: the metrics of the best validation, once the run is done.
        series: metrics.csv and performance.csv by the names of their columns.
        validations: in order.
    """

    folder: Path
    config: Mapping[str, Any]
    origin: Mapping[str, Any]
    status: Status
    summary: Mapping[str, float]
    series: Mapping[str, Series]
    validations: Sequence[Validation]

    @property
    def best(self) -> Validation:
        """The validation that best.ckpt is of.

        Raises:
            DataError: there was none yet.
        """
        if not self.validations:
            raise DataError(f"{self.folder} has no record of a validation yet")
        monitor = str(self.config.get("monitor", "valid/AP")).removeprefix(_VALID)
        return max(self.validations, key=lambda validation: validation.metrics.get(monitor, -1.0))

    def starting_with(self, prefix: str) -> dict[str, Series]:
        """The series of a family, such as "train/", by the rest of their names."""
        return {name.removeprefix(prefix): one for name, one in self.series.items() if name.startswith(prefix)}


def read_history(folder: str | os.PathLike[str]) -> RunHistory:
    """Reads the folder of a run, whatever of it is there.

    Raises:
        DataError: it is not the folder of a run, or a file in it can't be read.
    """
    path = Path(folder)
    if not (path / CONFIG).exists():
        raise DataError(f"{path} is not the folder of a run: it has no {CONFIG}")
    return RunHistory(
        folder=path,
        config=read_config(path / CONFIG),
        origin=_object(path / RECORD) if (path / RECORD).exists() else {},
        status=status_of(path),
        summary=_object(path / SUMMARY) if (path / SUMMARY).exists() else {},
        series={
            name: series
            for file in (path / METRICS, path / PERFORMANCE)
            if file.exists()
            for name, series in read_series(file).items()
        },
        validations=[_validation(step, place) for step, place in records.record_folders(path / "validation")],
    )


def read_series(file: Path) -> dict[str, Series]:
    """The columns of a metrics.csv or performance.csv by name; empty fields are left out.

    Raises:
        DataError: it is missing, or not as a run writes it.
    """
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with _as_written(file):
        require_file(file)
        for row in whole_rows(file):
            for name, value in row.items():
                if name != "step" and value:
                    points[name].append((int(row["step"]) + 1, float(value)))  # steps are counted from 0 in it
    return {
        name: Series(np.array([step for step, _ in pairs]), np.array([value for _, value in pairs]))
        for name, pairs in points.items()
    }


def _validation(step: int, folder: Path) -> Validation:
    with _as_written(file := folder / records.METRICS):
        metrics = {name.removeprefix(_VALID): float(value) for name, value in _object(file).items()}
    with _as_written(file := folder / records.CLASSES):
        require_file(file)
        classes = [_class(row) for row in whole_rows(file)]
    return Validation(
        step=step,
        folder=folder,
        metrics={name: value for name, value in metrics.items() if name != "step" and value != -1},
        classes=classes,
    )


@contextmanager
def _as_written(file: Path) -> Iterator[None]:
    """Around what takes a file for one of a run's: it may be anyone's.

    Raises:
        DataError: it can't be read as that.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise DataError(f"{file} is not as a run writes it ({type(error).__name__}: {error})") from error


def _object(file: Path) -> dict[str, Any]:
    require_file(file)
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} is not as a run writes it: it holds no object")
    return content


def _class(row: dict[str, str]) -> ClassMetrics:
    counts = {"category_id", "name", "tracks", "predictions"}
    metrics = {name: float(value) for name, value in row.items() if name not in counts and value}
    return ClassMetrics(row["name"], int(row["tracks"]), int(row["predictions"]), metrics)


def whole_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column, without a line that is not whole: a killed run can leave one at the end."""
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(line for line in handle if line.endswith("\n")))
