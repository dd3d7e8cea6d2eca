"""What W&B's environment variables ask for, beside the keys of the group `logger`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stmask.errors import ConfigError

Mode = Literal["offline", "online", "disabled"]
RUN_ID, FOLDER = "WANDB_RUN_ID", "WANDB_DIR"
_SWEEP, _MODE, _DISABLED = "WANDB_SWEEP_ID", "WANDB_MODE", "WANDB_DISABLED"
# names that W&B had or has for the modes
_MODES: dict[str, Mode] = {
    "offline": "offline", "dryrun": "offline", "online": "online", "run": "online", "shared": "online",
    "disabled": "disabled",
}  # fmt: skip
_TRUE = ("1", "true", "t", "yes", "y", "on")
_VARIABLES = {
    "project": "WANDB_PROJECT", "entity": "WANDB_ENTITY", "group": "WANDB_RUN_GROUP", "name": "WANDB_NAME",
    "notes": "WANDB_NOTES", "tags": "WANDB_TAGS",
}  # fmt: skip
_PROJECT = "stmask"


@dataclass(frozen=True)
class WandbSettings:
    """Where and how a run is logged.

    Attributes:
        mode: "disabled" logs nothing.
        project, entity, group, name, notes, tags: of the run; None leaves them to us or to W&B.
        folder: for W&B's files; None for the run's own.
        run_id: that an agent chose; None lets the run have its own.
        sayings: what the user should know: a key that wins over a variable, a sweep that sees nothing.
    """

    mode: Mode
    project: str
    entity: str | None
    group: str | None
    name: str | None
    notes: str | None
    tags: tuple[str, ...]
    folder: str | None
    run_id: str | None
    sayings: tuple[str, ...]


def wandb_settings(
    *,
    mode: Mode | None,
    project: str | None,
    entity: str | None,
    group: str | None,
    name: str | None,
    notes: str | None,
    tags: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> WandbSettings:
    """The keys where they are given, else W&B's variables, else what is usual here: offline, but online in a sweep.

    Args:
        mode, project, entity, group, name, notes, tags: keys of `logger`; null or empty where they are not given.
        environment: variables by name; an empty one is none.

    Raises:
        ConfigError: a mode that there isn't.
    """
    variables = {key: value for key, value in environment.items() if value}
    keys = {"project": project, "entity": entity, "group": group, "name": name, "notes": notes}
    given: dict[str, str | None] = {**keys, "tags": ",".join(tags) or None}
    asked = {key: variables[variable] for key, variable in _VARIABLES.items() if variable in variables}
    said = [
        f"logger.{key}={value} wins over {_VARIABLES[key]}={asked[key]}"
        for key, value in given.items()
        if value is not None and asked.get(key, value) != value
    ]
    found = {key: given[key] if given[key] is not None else asked.get(key) for key in given}
    variable, wanted = _mode_of(variables)
    sweep = variables.get(_SWEEP)
    if mode is not None and wanted is not None and mode != wanted:
        said.append(f"logger.mode={mode} wins over {variable}={variables[variable]}")
    chosen: Mode = mode or wanted or ("online" if sweep else "offline")
    if sweep and chosen != "online":
        said.append(f"this run is one of the sweep {sweep}, whose agent sees nothing of it in the mode {chosen!r}")
    return WandbSettings(
        mode=chosen,
        project=found["project"] or _PROJECT,
        entity=found["entity"],
        group=found["group"],
        name=found["name"],
        notes=found["notes"],
        tags=tuple(tags) or tuple(tag.strip() for tag in (found["tags"] or "").split(",") if tag.strip()),
        folder=variables.get(FOLDER),
        run_id=variables.get(RUN_ID),
        sayings=tuple(said),
    )


def _mode_of(variables: Mapping[str, str]) -> tuple[str, Mode | None]:
    """The variable that says something of the mode, and what."""
    if variables.get(_DISABLED, "").lower() in _TRUE:
        return _DISABLED, "disabled"
    if _MODE not in variables:
        return _MODE, None
    mode = _MODES.get(variables[_MODE].lower())
    if mode is None:
        raise ConfigError(f"{_MODE} must be 'online', 'offline' or 'disabled', got {variables[_MODE]!r}")
    return _MODE, mode
