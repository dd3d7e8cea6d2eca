"""Checks every `_target_` node of a configuration against the signature of what it calls, before anything is built."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import inspect
import os
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from stmask.errors import ConfigError

_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})
AS_TRAINED = "as_trained"  # in place of a value: that of the checkpoint
_FROM_STRING = (os.PathLike, enum.Enum)  # what a string of a yaml file may stand for


def check_targets(cfg: DictConfig | ListConfig, *, key: str = "") -> None:
    """Checks the arguments of every `_target_` below `cfg`: they must exist, and plain values must have their type.

    Raises:
        ConfigError: a target that can't be imported, an argument that it does not have (with the nearest that it
            has), or a plain value of a type that its annotation excludes; the full key is named.
    """
    if isinstance(cfg, DictConfig) and cfg.get("_target_") not in (None, AS_TRAINED):
        _check_call(cfg, key)
    names = range(len(cfg)) if isinstance(cfg, ListConfig) else list(cfg)
    for name in names:
        child = cfg[name]
        if isinstance(child, (DictConfig, ListConfig)):
            check_targets(child, key=_join(key, name))


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
            check_fields(value, annotation, key=_join(key, name))  # type: ignore[arg-type]
        elif dataclasses.is_dataclass(annotation) or not _fits(value, annotation):
            raise _wrong_type(_join(key, name), value, annotation)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that looks most like `name`, if any does."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), None)


def _check_call(node: DictConfig, key: str) -> None:
    target = _locate(str(node._target_), key)
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    annotations = _annotations(target)
    for name in (str(name) for name in node if name not in _HYDRA_KEYS):
        if name not in named:
            if open_ended:
                continue
            near = nearest(name, named)
            hint = (
                f"did you mean {_join(key, near)!r}?"
                if near
                else f"{key or 'it'} takes: {', '.join(sorted(named)) or 'no keys'}"
            )
            raise ConfigError(f"unknown key {_join(key, name)!r}; {hint}")
        value = node[name]
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        allowed = value is None and parameters[name].default is None
        if name in annotations and not allowed and not _fits(plain, annotations[name]):
            raise _wrong_type(_join(key, name), plain, annotations[name])


def _wrong_type(key: str, value: Any, annotation: Any) -> ConfigError:
    hint = ""
    choices = [annotation, *typing.get_args(annotation)]
    if isinstance(value, (bool, int, float)) and str in choices:
        hint = f"; as a text: '{key}=\"{value}\"'"
    elif isinstance(value, str) and any(_is_sequence(typing.get_origin(choice)) for choice in choices):
        hint = f"; as a list: {key}=[{value}]"
    return ConfigError(f"{key} must be {_describe(annotation)}, got {value!r}{hint}")


def _locate(path: str, key: str) -> Callable[..., Any]:
    try:
        target = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{_join(key, '_target_')}: cannot import {path!r} ({error})") from error
    if not callable(target):
        raise ConfigError(f"{_join(key, '_target_')}: {path!r} is not a class or function")
    return typing.cast(Callable[..., Any], target)


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
        return {}


def _fits(value: Any, annotation: Any) -> bool:
    """False only where a plain value surely contradicts its annotation; what can't be judged fits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if (isinstance(value, Mapping) and "_target_" in value) or getattr(annotation, "_is_protocol", False):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(value == argument and type(value) is type(argument) for argument in arguments)
    if annotation is type(None) or value is None:
        return value is None and annotation in (None, type(None), Any, object)
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if _is_sequence(origin or annotation):
        return isinstance(value, list) and _elements_fit(value, origin, arguments)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, dict)
    if inspect.isclass(annotation) and isinstance(value, (bool, int, float, str)):
        return isinstance(value, annotation) or (isinstance(value, str) and issubclass(annotation, _FROM_STRING))
    return True


def _is_sequence(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Sequence) and not issubclass(kind, (str, bytes))


def _elements_fit(values: list[Any], origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(values) == len(arguments) and all(map(_fits, values, arguments))
    return not arguments or all(_fits(value, arguments[0]) for value in values)


def _describe(annotation: Any) -> str:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(repr(argument) for argument in typing.get_args(annotation))
    if annotation is type(None):
        return "null"
    if typing.get_origin(annotation) is None and inspect.isclass(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)
