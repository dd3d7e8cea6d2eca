"""Checks every `_target_` node of a configuration against the signature of what it calls, before anything is built."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from stmask.errors import ConfigError
from stmask.signatures import arguments_of, check_arguments, fits, join, locate, wrong_type

_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


def check_targets(cfg: DictConfig | ListConfig, *, key: str = "") -> None:
    """Checks the arguments of every `_target_` below `cfg`: they must exist, and plain values must have their type.

    Raises:
        ConfigError: a target that can't be imported, an argument that it does not have (with the nearest that it
            has), or a plain value of a type that its annotation excludes; the full key is named.
    """
    if isinstance(cfg, DictConfig) and cfg.get("_target_") is not None:
        target = locate(str(cfg._target_), key=join(key, "_target_"))
        check_arguments(target, {str(name): _plain(cfg[name]) for name in cfg if name not in _HYDRA_KEYS}, key=key)
    names = range(len(cfg)) if isinstance(cfg, ListConfig) else list(cfg)
    for name in names:
        child = cfg[name]
        if isinstance(child, (DictConfig, ListConfig)):
            check_targets(child, key=join(key, name))


def check_fields(values: Mapping[str, Any], schema: type, *, key: str = "") -> None:
    """Checks plain values against a dataclass's annotations; nothing is converted, a "1" is not a 1.

    Raises:
        ConfigError: a value of another type; its full key is named.
    """
    for name, annotation in typing.get_type_hints(schema).items():
        if name not in values or annotation is Any:
            continue
        value = values[name]
        if dataclasses.is_dataclass(annotation) and isinstance(value, Mapping):
            check_fields(value, annotation, key=join(key, name))  # type: ignore[arg-type]
        elif dataclasses.is_dataclass(annotation) or not fits(value, annotation):
            raise wrong_type(join(key, name), value, annotation)


def arguments_at(node: Any) -> frozenset[str]:
    """The names that the `_target_` of a node takes; none where it has no such key, or none that can be imported."""
    if not isinstance(node, DictConfig) or node.get("_target_") is None:
        return frozenset()
    try:
        return arguments_of(locate(str(node._target_), key="_target_"))
    except ConfigError:
        return frozenset()


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
