"""The data that a checkpoint is evaluated with; where they lie is the user's to say, never the checkpoint's."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from hydra.utils import instantiate

from stmask.checkpoints import ModelCard, construct, registry
from stmask.data import DataModule
from stmask.errors import ConfigError, DataError
from stmask.runs.config import config_beside
from stmask.signatures import TARGET, check_arguments, shown
from stmask.tasks import Task

_log = logging.getLogger(__name__)
_PLACES = ("root", "valid_annotations", "valid_frames")
_SPLIT = re.compile(r"\w[\w .-]*")  # a name, and no way through folders
_WAY_OUT = "give data.root=FOLDER"
_ONLY_TO_TRAIN = {"train": None, "augmentation": None}


def evaluation_settings(
    card: ModelCard,
    checkpoint: str | os.PathLike[str],
    changes: Mapping[str, Any] | None = None,
    *,
    way_out: str = _WAY_OUT,
) -> dict[str, Any]:
    """The `data` configuration to evaluate a checkpoint with.

    Of the card come the kind of data and the split's name. Where the data lie is the user's to say, or the
    config.yaml's of the run in whose folder the checkpoint lies.

    Args:
        card: of the checkpoint.
        checkpoint: its path.
        changes: the user's own, which win; with a `_target_` they are another dataset altogether.
        way_out: what to give where nothing says where the data lie, for the error.

    Raises:
        DataError: nothing says where the data lie.
        ConfigError: the card says something of its data that can't be meant.
    """
    changes = dict(changes or {})
    if TARGET in changes:
        return {**changes, **_ONLY_TO_TRAIN}
    if not card.data:
        raise DataError(f"{checkpoint} does not say what it was trained on: choose data=GROUP and data.root=FOLDER")
    settings = _settings_of(card, checkpoint)
    if not changes.get("root"):
        settings |= _places_beside(checkpoint, other_split="valid" in changes)
    settings |= changes
    if not settings.get("root") and not settings.get("valid_annotations"):
        said = ", ".join(f"data.{name}={shown(card.data[name])}" for name in ("root", "valid") if name in card.data)
        raise DataError(
            f"{checkpoint} is not in the folder of its run, which would say where its data are, and a path in a "
            f"checkpoint is not followed (it has {said or 'none'}): {way_out}"
        )
    return {**settings, **_ONLY_TO_TRAIN}


def evaluation_data(
    card: ModelCard,
    checkpoint: str | os.PathLike[str],
    changes: Mapping[str, Any] | None = None,
    *,
    way_out: str = _WAY_OUT,
) -> DataModule:
    """The data module of `evaluation_settings`; bringing its frames to the network's input is the segmenter's part."""
    settings = evaluation_settings(card, checkpoint, changes, way_out=way_out)
    if changes and TARGET in changes:
        data = instantiate(settings, _convert_="all")  # all of it the user's own
    else:
        kind = registry.find(settings.pop(TARGET), "data")
        assert kind is not None
        settings = {name: value for name, value in settings.items() if name not in ("preprocessor", "task")}
        check_arguments(kind, settings, key="data")
        parts = {name: value for name, value in (changes or {}).items() if isinstance(value, (dict, list))}
        made = {name: instantiate(parts[name], _convert_="all") for name in parts if name in settings}
        data = kind(**settings | made, task=_task(kind, card, (changes or {}).get("task") or {}))
    if not isinstance(data, DataModule):
        raise ConfigError(f"data builds a {type(data).__name__}, not a DataModule of stmask.data")
    return data


def _task(kind: Callable[..., Any], card: ModelCard, changes: Mapping[str, Any]) -> Task:
    """The task of a kind of data, as in its run but for changes; of the run's own metrics those that are registered."""
    if TARGET in changes:
        task: Task = instantiate(changes, _convert_="all")
        return task
    usual: Any = inspect.signature(kind).parameters["task"].default
    check_arguments(type(usual), changes, key="data.task")
    metrics = {}
    for name, node in _metrics_of(card).items():
        if registry.find(str(node.get(TARGET))) is None:
            _log.warning("%s was a metric of its training run: to have it here, trust=[%s]", name, node.get(TARGET))
        else:
            metrics[name] = construct.build(node, key=f"data.task.metrics.{name}")
    metrics |= instantiate(dict(changes.get("metrics") or {}), _convert_="all")
    names = {field.name for field in fields(usual)} - {"metrics"}
    settings = {name: value for name, value in {**_task_of(card), **changes}.items() if name in names}
    try:
        task = replace(usual, metrics=metrics, **settings)
    except ValueError as error:
        raise ConfigError(f"data.task: {error}") from error
    return task


def _metrics_of(card: ModelCard) -> dict[str, Mapping[str, Any]]:
    """The user's metrics of the training run, as their configuration named them."""
    metrics = _task_of(card).get("metrics") or {}
    if not isinstance(metrics, Mapping) or not all(isinstance(node, Mapping) for node in metrics.values()):
        raise ConfigError(f"the checkpoint's data.task.metrics is {shown(metrics)}, not metrics by name")
    return dict(metrics)


def _task_of(card: ModelCard) -> Mapping[str, Any]:
    task = card.data.get("task") or {}
    if not isinstance(task, Mapping):
        raise ConfigError(f"the checkpoint's data.task is {shown(task)}, not a task")
    return task


def same_videos(card: ModelCard, checkpoint: str | os.PathLike[str]) -> str:
    """A text that is equal for checkpoints which are evaluated with the same data."""
    return json.dumps(evaluation_settings(card, checkpoint), sort_keys=True)


def _settings_of(card: ModelCard, checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    kind, valid = card.data.get(TARGET), card.data.get("valid", "valid")
    if not isinstance(kind, str) or registry.find(kind, "data") is None:
        raise ConfigError(
            f"{checkpoint} was trained on data of {shown(kind)}, which is not a registered class: choose data=GROUP "
            f"and data.root=FOLDER; {registry.HOW_TO_ALLOW}"
        )
    if valid is not None and not (isinstance(valid, str) and _SPLIT.fullmatch(valid)):
        raise ConfigError(f"{checkpoint}: its split to evaluate with is {shown(valid)}, not a name")
    return {TARGET: kind, "valid": valid}


def _places_beside(checkpoint: str | os.PathLike[str], *, other_split: bool) -> dict[str, Any]:
    """Where the run's own configuration says that the data lie; explicit files are those of its own split."""
    data = (config_beside(checkpoint) or {}).get("data")
    if not isinstance(data, dict):
        return {}
    places = {name: data.get(name) for name in (_PLACES[:1] if other_split else _PLACES)}
    for name, place in places.items():
        if place is not None and (not isinstance(place, str) or "${" in place):
            raise ConfigError(f"the config.yaml of {checkpoint}: data.{name} is {shown(place)}, not a path")
    return places
