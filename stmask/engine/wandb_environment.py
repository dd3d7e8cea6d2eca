"""What W&B's environment variables ask for, beside the keys of the group `logger`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stmask.errors import ConfigError

Mode = Literal["offline", "online", "disabled"]
_SWEEP, _MODE, _DISABLED = "WANDB_SWEEP_ID", "WANDB_MODE", "WANDB_DISABLED"
# names that W&B had or has for the modes
_MODES: dict[str, Mode] = {
    "offline": "offline", "dryrun": "offline", "online": "online", "run": "online", "shared": "online",
    "disabled": "disabled",
}  # fmt: skip
_TRUE = ("1", "true", "t", "yes", "y", "on")
# of arguments of `wandb.init`; the last two have no key of ours
_VARIABLES = {
    "project": "WANDB_PROJECT", "entity": "WANDB_ENTITY", "group": "WANDB_RUN_GROUP", "name": "WANDB_NAME",
    "notes": "WANDB_NOTES", "tags": "WANDB_TAGS", "dir": "WANDB_DIR", "id": "WANDB_RUN_ID",
}  # fmt: skip


@dataclass(frozen=True)
class WandbSettings:
    """How a run is logged.

    Attributes:
        mode: "disabled" logs nothing.
        arguments: of `wandb.init`, those that a key or a variable gives.
        remarks: what the user should know: a key that wins over a variable, a sweep that sees nothing.
    """

    mode: Mode
    arguments: Mapping[str, Any]
    remarks: tuple[str, ...]


def wandb_settings(
    mode: Mode | None, keys: Mapping[str, str | Sequence[str] | None], *, environment: Mapping[str, str] = os.environ
) -> WandbSettings:
    """The keys where they are given, else W&B's variables; without a mode: offline, but online in a sweep.

    Args:
        mode: the key `logger.wandb.mode`; null where it is not given.
        keys: the other keys of `logger` that are arguments of `wandb.init`; null or empty where they are not given.
        environment: variables by name; an empty one does not count.

    Raises:
        ConfigError: an unknown mode.
    """
    variables = {name: value for name, value in environment.items() if value}
    asked: dict[str, Any] = {key: variables[name] for key, name in _VARIABLES.items() if name in variables}
    if "tags" in asked:
        asked["tags"] = tuple(tag.strip() for tag in asked["tags"].split(",") if tag.strip())
    given = {key: value for key, value in keys.items() if value}
    remarks = [
        f"logger.wandb.{key}={value if isinstance(value, str) else ','.join(value)} wins over "
        f"{_VARIABLES[key]}={variables[_VARIABLES[key]]}"
        for key, value in given.items()
        if asked.get(key, value) != value
    ]
    variable = _DISABLED if variables.get(_DISABLED, "").lower() in _TRUE else _MODE
    wanted = "disabled" if variable == _DISABLED else _MODES.get(variables.get(_MODE, "").lower())
    if wanted is None and _MODE in variables:
        raise ConfigError(f"{_MODE} must be 'online', 'offline' or 'disabled', got {variables[_MODE]!r}")
    if mode is not None and wanted is not None and mode != wanted:
        remarks.append(f"logger.wandb.mode={mode} wins over {variable}={variables[variable]}")
    sweep = variables.get(_SWEEP)
    chosen: Mode = mode or wanted or ("online" if sweep else "offline")
    if sweep and chosen != "online":
        remarks.append(f"this run is one of the sweep {sweep}, whose agent sees nothing of it in the mode {chosen!r}")
    return WandbSettings(chosen, asked | given, tuple(remarks))
