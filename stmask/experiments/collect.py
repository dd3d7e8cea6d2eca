"""Finished and unfinished runs as records, from their folders."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stmask.engine.run_config import read_config
from stmask.engine.run_folder import BEST, CHECKPOINTS, CONFIG, LAST, RECORD, SUMMARY, status_of
from stmask.errors import CheckpointError, ConfigError, DataError
from stmask.experiments.settings import Setting, configuration_of
from stmask.experiments.speed import Speed
from stmask.files import read_json, require_file
from stmask.number_checks import require_number

SPEED = "fps.json"
DONE = "done"
_FIGURE_PREFIX = "valid/"
_BELOW = frozenset({CHECKPOINTS, "validation", ".hydra"})  # folders of a run that hold no further run


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a table needs to know of one run.

    Attributes:
        name: its folder from the one on that was searched, or its address in W&B.
        folder: None for a run of W&B.
        experiment: the row it was made for, such as "table4/t4_fca".
        setting: what its command line said beside row and seed.
        configuration: equal for runs that may be averaged, see `configuration_of`.
        seed: of its random numbers.
        state: `DONE`, or why it isn't.
        finished: when, ISO 8601 in UTC; "" for never.
        dataset: folder and split that its figures are of.
        figures: of its best validation, such as AP, in [0, 1]; those that are undefined are left out.
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
    figures: Mapping[str, float] = field(default_factory=dict)
    train_seconds: float | None = None
    parameters: int | None = None
    speed: Speed | None = None

    @property
    def key(self) -> str:
        """Of no other run."""
        return self.name if self.folder is None else str(self.folder.resolve())

    @property
    def done(self) -> bool:
        return self.state == DONE


def collect(folders: Sequence[str | os.PathLike[str]]) -> tuple[list[RunRecord], list[str]]:
    """Every run of an experiment anywhere below some folders, and a line for each folder that can't be read as one.

    A folder that is given twice, or lies in another, counts once.

    Raises:
        DataError: a folder that does not exist.
    """
    records: list[RunRecord] = []
    problems: list[str] = []
    seen: set[Path] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"no such folder of runs: {folder}; those of a training or a sweep are in its output_root")
        for run in _run_folders(folder):
            if (place := run.resolve()) in seen:
                continue
            seen.add(place)
            try:
                record = read_run(run, name=Path(folder.resolve().name, run.relative_to(folder)).as_posix())
            except DataError as error:
                problems.append(str(error))
                continue
            if record is not None:
                records.append(record)
    return records, problems


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, children, files in os.walk(folder):
        children[:] = sorted(set(children) - _BELOW)
        if RECORD in files:
            yield Path(path)


def read_run(folder: Path, *, name: str) -> RunRecord | None:
    """One run from its folder; None for a run that no experiment was named for.

    Raises:
        DataError: a file of it is missing or broken.
    """
    for file in (RECORD, SUMMARY, CONFIG, SPEED):
        require_file(folder / file)
    made = read_json(folder / RECORD)
    if not isinstance(made, dict):
        raise DataError(f"{folder / RECORD} describes no run")
    status = status_of(folder)
    done = status.state == DONE
    return record_of(
        name=name,
        folder=folder,
        made=made,
        config=read_config(folder / CONFIG),
        summary=read_json(folder / SUMMARY) if done else {},
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
    """A record from what a run wrote, here or to W&B; None for a run that no experiment was named for.

    Args:
        made: the content of run.json.
        config: resolved.
        summary: the content of summary.json; anything besides figures and train_seconds is ignored.

    Raises:
        DataError: something in it is missing or of another kind.
    """
    if made.get("experiment") is None:
        return None
    try:
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
            figures=_figures(summary),
            train_seconds=None if seconds is None else float(seconds),
            parameters=None if parameters is None else int(parameters),
            speed=speed,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{folder or name} is not a run that can be read ({type(error).__name__}: {error})") from error


def read_speed(folder: Path) -> Speed | None:
    """What was measured for a run; None if nothing was, or by another procedure.

    Raises:
        DataError: the file is broken.
    """
    path = folder / SPEED
    if not path.exists():
        return None
    try:
        return Speed.from_dict(read_json(path))
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
        raise DataError(f"{path} holds no measurement: delete it, and measure again") from error


def checkpoint_of(folder: Path) -> Path:
    """The weights of a run: its best, or its last where nothing was validated.

    Raises:
        CheckpointError: there are none.
    """
    for name in (BEST, LAST):
        if (path := folder / CHECKPOINTS / name).is_file():
            return path
    raise CheckpointError(f"{folder} holds no {CHECKPOINTS}/{BEST} or {LAST}: give a checkpoint, or a run's folder")


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Figures by their bare names; undefined ones are -1 in the metric, or not finite."""
    named = {
        key.removeprefix(_FIGURE_PREFIX): value for key, value in summary.items() if key.startswith(_FIGURE_PREFIX)
    }
    return {name: float(value) for name, value in named.items() if math.isfinite(value) and value >= 0}
