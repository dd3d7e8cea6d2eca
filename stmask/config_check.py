"""Checks every `_target_` node of a configuration against the signature of what it calls, before anything is built."""

from __future__ import annotations

import pkgutil
import typing
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from stmask.errors import ConfigError
from stmask.signatures import check_arguments, join

_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


def check_targets(cfg: DictConfig | ListConfig, *, key: str = "") -> None:
    """Checks the arguments of every `_target_` below `cfg`: they must exist, and plain values must have their type.

    Raises:
        ConfigError: a target that can't be imported, an argument that it does not have (with the nearest that it
            has), or a plain value of a type that its annotation excludes; the full key is named.
    """
    if isinstance(cfg, DictConfig) and cfg.get("_target_") is not None:
        target = _locate(str(cfg._target_), key)
        check_arguments(target, {str(name): _plain(cfg[name]) for name in cfg if name not in _HYDRA_KEYS}, key=key)
    names = range(len(cfg)) if isinstance(cfg, ListConfig) else list(cfg)
    for name in names:
        child = cfg[name]
        if isinstance(child, (DictConfig, ListConfig)):
            check_targets(child, key=join(key, name))


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _locate(path: str, key: str) -> Callable[..., Any]:
    try:
        target = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{join(key, '_target_')}: cannot import {path!r} ({error})") from error
    if not callable(target):
        raise ConfigError(f"{join(key, '_target_')}: {path!r} is not a class or function")
    return typing.cast(Callable[..., Any], target)
