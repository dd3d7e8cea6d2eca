"""A model from its plain configuration, of registered classes only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from stmask.checkpoints import construct, registry
from stmask.errors import ConfigError, StmaskError
from stmask.models import VideoModel
from stmask.signatures import TARGET

KEY = "model"


def build_model(config: Mapping[str, Any], *, num_classes: int) -> VideoModel:
    """The model of a `model` configuration.

    Args:
        config: plain, as a card has it; a num_classes in it gives way.
        num_classes: K, without the background.

    Raises:
        ConfigError: a class that is not registered, a value that a constructor refuses, or values for a part that the
            model was told to do without.
    """
    config = {name: value for name, value in config.items() if name != "num_classes"}
    for name, part in config.items():
        if isinstance(part, Mapping) and TARGET not in part:
            keys = ", ".join(map(str, part))
            raise ConfigError(f"model.{name} is none, yet {keys} of it are set: leave them out, or model.{name}=null")
    if TARGET not in config:
        raise ConfigError(f"model has no {TARGET}, the class of the model")
    construct.check({**config, "num_classes": num_classes}, key=KEY)
    model = construct.build(config, key=KEY, num_classes=num_classes)
    if not isinstance(model, VideoModel):
        raise ConfigError(f"the model configuration builds a {type(model).__name__}, not a VideoModel")
    try:
        model.tracker()
    except (StmaskError, ValueError, TypeError) as error:  # now, and not when the first video is run
        raise ConfigError(f"{KEY}.tracker: {error}") from error
    return model


def skeleton(config: Mapping[str, Any], *, num_classes: int) -> VideoModel:
    """The model without storage, for its names, shapes and what it needs.

    Raises:
        ConfigError: as `build_model`.
    """
    try:
        with torch.device("meta"):
            return build_model(without_files(config), num_classes=num_classes)
    except Exception:
        if all(map(registry.is_ours, construct.names_in(config))):
            raise
        # a class of the user's own, which may need storage to be built
        return build_model(without_files(config), num_classes=num_classes)


def overlaid(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with changes laid over it: a part with a `_target_` takes the place of another, keys of a part
    without one change that part, and null is null.
    """
    merged = dict(config)
    for name, value in changes.items():
        under = merged.get(name)
        inner = isinstance(value, Mapping) and TARGET not in value and isinstance(under, Mapping)
        merged[name] = overlaid(under, value) if inner else value  # type: ignore[arg-type]
    return merged


def without_files(value: Any) -> Any:
    """The weights file that a run started from is not needed, may be gone, and is nothing to open for a checkpoint."""
    if isinstance(value, Mapping):
        return {
            name: None if name == "weights" and isinstance(child, str) else without_files(child)
            for name, child in value.items()
        }
    return [without_files(child) for child in value] if isinstance(value, list) else value
