"""Reads finished and unfinished runs from their folders."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stmask.errors import DataError
from stmask.experiments.settings import Setting, configuration_of
from stmask.experiments.speed import Speed, read_speed
from stmask.files import read_json, require_file
from stmask.number_checks import require_number
from stmask.runs.config import read_config
from stmask.runs.folder import CHECKPOINTS, CONFIG, RECORD, SUMMARY, status_of

DONE = "done"
_METRIC_PREFIX = "valid/"
_BELOW = frozenset({CHECKPOINTS, "validation", ".hydra"})  # folders of a run that never hold other runs


@dataclass(frozen=True, slots=True, eq=False)
class RunRecord:
    """What a table needs to know about one run; equal only to itself.

    Attributes:
        name: its folder, relative to the one searched, or its address in W&B.
        folder: None for a run of W&B.
        experiment: the row it was made for, such as "table4/t4_fca".
        setting: what its command line changed besides row and seed.
        configuration: equal for runs that may be averaged, see `configuration_of`.
        seed: of its random numbers.
        state: `DONE`, or why it isn't.
        finished: when, ISO 8601 in UTC; "" for never.
        dataset: folder and split of its metrics.
        metrics: of its best validation, such as AP, in [0, 1]; undefined ones are left out.
        train_seconds: over all attempts.
        parameters: of the network.
        speed: None if never measured.
    """

    name: str
    folder: Path | None
    experiment: str
    setting: Setting
    configuration: str
    seed: int
    state: str
    finished: str = ""
    dataset: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    train_seconds: float | None = None
    parameters: int | None = None
    speed: Speed | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """Equal for copies of one run."""
        return self.experiment, self.setting, self.configuration, self.seed

    @property
    def done(self) -> bool:
        return self.state == DONE


def collect(folders: Sequence[str | os.PathLike[str]]) -> tuple[list[RunRecord], list[str]]:
    """Every run of an experiment anywhere below some folders, and a line for each folder that can't be read as one.

    A folder that is given twice, or is inside another, counts once.

    Raises:
        DataError: a folder that does not exist.
    """
    places: dict[Path, tuple[Path, str]] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"no such folder of runs: {folder}; `stmask train` and sweeps write to output_root")
        for run in _run_folders(folder):
            name = Path(folder.resolve().name, run.relative_to(folder)).as_posix()
            places.setdefault(run.resolve(), (run, name))
    return records_of(partial(_read_run, run, name=name) for run, name in places.values())


def records_of(reads: Iterable[Callable[[], RunRecord | None]]) -> tuple[list[RunRecord], list[str]]:
    """The records that some functions read, and a line for each that raised DataError."""
    records: list[RunRecord] = []
    problems: list[str] = []
    for read in reads:
        try:
            if (record := read()) is not None:
                records.append(record)
        except DataError as error:
            problems.append(str(error))
    return records, problems


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, children, files in os.walk(folder):
        children[:] = sorted(set(children) - _BELOW)
        if RECORD in files:
            yield Path(path)


def _read_run(folder: Path, *, name: str) -> RunRecord | None:
    for file in (RECORD, SUMMARY, CONFIG):
        require_file(folder / file)
    status = status_of(folder)
    return record_of(
        name=name,
        folder=folder,
        made=read_json(folder / RECORD),
        config=read_config(folder / CONFIG),
        summary=read_json(folder / SUMMARY) if status.state == DONE else {},
        state=status.state,
        finished=status.finished or "",
        speed=read_speed(folder),
    )


def record_of(
    *,
    name: str,
    folder: Path | None,
    made: Mapping[str, Any],
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    state: str,
    finished: str,
    speed: Speed | None = None,
) -> RunRecord | None:
    """A record from what a run wrote, here or to W&B; None for a run without an experiment.

    Args:
        made: the content of run.json.
        config: resolved.
        summary: the content of summary.json; anything besides metrics and train_seconds is ignored.

    Raises:
        DataError: something in it is missing or of the wrong type.
    """
    try:
        if made.get("experiment") is None:
            return None
        data, seconds, parameters = config["data"], summary.get("train_seconds"), made.get("parameters")
        require_number(train_seconds=seconds or 0, parameters=parameters or 0)
        return RunRecord(
            name=name,
            folder=folder,
            experiment=str(made["experiment"]),
            setting=Setting.of([str(override) for override in made["overrides"]]),
            configuration=configuration_of(config),
            seed=int(config["seed"]),
            state=state,
            finished=finished,
            dataset=f"{Path(str(data.get('root') or 'files')).name}, split {data.get('valid')}",
            metrics={
                key.removeprefix(_METRIC_PREFIX): float(value)
                for key, value in summary.items()
                if key.startswith(_METRIC_PREFIX) and math.isfinite(value) and value >= 0  # -1: undefined
            },
            train_seconds=None if seconds is None else float(seconds),
            parameters=None if parameters is None else int(parameters),
            speed=speed,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{folder or name} is not a run that can be read ({type(error).__name__}: {error})") from error
