"""Runs that were logged to W&B's server, as records. Its runs hold what a run's folder does:

`config` the resolved configuration, and under "run" the content of run.json; `summary` the metrics of the best
validation (valid/AP, ..) and train_seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from stmask.engine.wandb_environment import is_refusal, reason
from stmask.errors import ConfigError, DataError
from stmask.experiments.collect import DONE, RunRecord, record_of, records_of

RUN_KEY = "run"
_STATES = {"finished": DONE, "crashed": "cut off", "killed": "interrupted"}
_TIMEOUT = 30  # seconds until W&B's server is given up


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
                f"W&B does not give the runs of {project!r} ({reason(error)}): log in with `wandb login` or a right "
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
    """A record of one run, None for one that no experiment was named for.

    Raises:
        DataError: it is none of ours, or not whole.
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
    """What W&B hands out as a dict of its own kind, or as JSON."""
    loaded = json.loads(values) if isinstance(values, str) else values
    return {str(key): value for key, value in loaded.items()}
