"""Reads runs that were logged to a W&B server. They hold what a run's folder does:

`config` the resolved configuration, and under "run" the content of run.json; `summary` the metrics of the best
validation (valid/AP, ..) and train_seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from stmask.errors import ConfigError, DataError
from stmask.experiments.collect import DONE, RunRecord, record_of, records_of
from stmask.wandb_errors import is_refusal, reason

RUN_KEY = "run"
_STATES = {"finished": DONE, "crashed": "cut off", "killed": "interrupted"}
_TIMEOUT = 30  # seconds until giving up on W&B's server


def collect_project(project: str, api: Any = None) -> tuple[list[RunRecord], list[str]]:
    """The runs of a project, and a line for each that can't be read.

    Args:
        project: ENTITY/PROJECT.
        api: a `wandb.Api`, made from the user's key if none is given.

    Raises:
        ConfigError: no such project, no key, or one that is refused.
        DataError: the server can't be reached.
    """
    if len(parts := project.split("/")) != 2 or not all(parts):
        raise ConfigError(f"--wandb takes ENTITY/PROJECT, got {project!r}")
    return records_of([partial(_record, project, run) for run in _runs(project, api)])


def _runs(project: str, api: Any) -> list[Any]:
    try:
        return list((api or _connect()).runs(project))
    except Exception as error:
        if is_refusal(error):
            raise ConfigError(
                f"cannot read the runs of {project!r} ({reason(error)}): log in with `wandb login` or set a valid "
                "WANDB_API_KEY, and check --wandb ENTITY/PROJECT"
            ) from error
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] != "wandb":
            raise
        raise DataError(
            f"W&B's server can't be reached ({reason(error)}): leave out --wandb to use the folders alone"
        ) from error


def _connect() -> Any:
    import wandb

    return wandb.Api(timeout=_TIMEOUT)


def _record(project: str, run: Any) -> RunRecord | None:
    """A record of one run; None for a run without an experiment.

    Raises:
        DataError: it is not one of our runs, or is incomplete.
    """
    config = _plain(run.config)
    made = config.pop(RUN_KEY, None)
    if not isinstance(made, Mapping):
        return None
    return record_of(
        name=f"{project}/{run.id}",
        folder=None,
        made=made,
        config=config,
        summary=_plain(run.summary),
        state=_STATES.get(run.state, run.state),
        finished=str(run.created_at),
    )


def _plain(values: Any) -> dict[str, Any]:
    """A plain dict from W&B's own dict type, or from JSON."""
    loaded = json.loads(values) if isinstance(values, str) else values
    return {str(key): value for key, value in loaded.items()}
