"""Checks plain arguments against the signature of a callable before it is called."""

from __future__ import annotations

import difflib
import enum
import inspect
import os
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stmask.errors import ConfigError
from stmask.extras import missing

TARGET, PARTIAL = "_target_", "_partial_"  # of a node that describes a call; see conf/
_FROM_STRING = (os.PathLike, enum.Enum)  # what a yaml string may be converted to


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], *, key: str) -> None:
    """Checks that arguments exist and that plain values have their type; a `_target_` node may stand for any object.

    Args:
        arguments: plain values, lists, dicts.
        key: of the call in its configuration, for the errors.

    Raises:
        ConfigError: an argument that the target does not have (with the nearest that it has), or a plain value of a
            type that its annotation excludes; the full key is named.
    """
    if (parameters := _parameters(target)) is None:
        return
    named = {p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    annotations = annotations_of(target)
    for name, value in arguments.items():
        if name not in named:
            if open_ended:
                continue
            near = nearest(name, named)
            hint = (
                f"did you mean {join(key, near)!r}?"
                if near
                else f"{key or 'it'} takes: {', '.join(sorted(named)) or 'no keys'}"
            )
            raise ConfigError(f"unknown key {join(key, name)!r}; {hint}")
        allowed = value is None and parameters[name].default is None
        if name in annotations and not allowed and not fits(value, annotations[name]):
            raise wrong_type(join(key, name), value, annotations[name])


def wrong_type(key: str, value: Any, annotation: Any) -> ConfigError:
    """The error for a value that an annotation excludes, with a suggestion."""
    hint = ""
    choices = [annotation, *typing.get_args(annotation)]
    if isinstance(value, (bool, int, float)) and str in choices:
        hint = f"; as a text: '{key}=\"{value}\"'"
    elif isinstance(value, str) and any(_is_sequence(typing.get_origin(choice)) for choice in choices):
        hint = f"; as a list: {key}=[{shown(value)[1:-1]}]"
    elif isinstance(value, Mapping) and value:
        hint = f"; it has no key {next(iter(value))!r} here"
    return ConfigError(f"{key} must be {describe(annotation)}, got {shown(value)}{hint}")


def locate(name: str, *, key: str) -> Callable[..., Any]:
    """Imports what the user names; never for names out of somebody else's file.

    Args:
        key: where it is named, for the errors.

    Raises:
        ConfigError: it can't be imported, or can't be called.
    """
    try:
        target = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        if needed := missing(error):
            raise ConfigError(f"{key}: {name} {needed}") from error
        raise ConfigError(f"{key}: cannot import {name!r} ({error})") from error
    if not callable(target):
        raise ConfigError(f"{key}: {name!r} is not a class or function")
    return typing.cast(Callable[..., Any], target)


def missing_arguments(target: Callable[..., Any], given: Iterable[str]) -> list[str]:
    """The required arguments that a target is not given."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = (_parameters(target) or {}).values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in variable]
    return [name for name in required if name not in set(given)]


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return None


def annotations_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The types of a target's arguments, where they are known at run time."""
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
        return {}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most similar to `name`, if any is."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), None)


def join(key: str, name: Any) -> str:
    """The full name of a key."""
    return f"{key}.{name}" if key else str(name)


def shown(value: Any) -> str:
    """A value for an error message, shortened if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists without end
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 200 else f"{text[:200]} .."


def fits(value: Any, annotation: Any) -> bool:
    """False only if a plain value certainly contradicts its annotation; when in doubt it fits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, object):
        return True
    if isinstance(value, Mapping) and TARGET in value:
        return not _is_plain(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(argument) and value == argument for argument in arguments)
    if annotation is type(None) or value is None:
        return value is None and annotation in (None, type(None))
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if origin is Callable or getattr(annotation, "_is_protocol", False):
        return not isinstance(value, (bool, int, float, str, list, tuple, dict))
    if _is_sequence(origin or annotation):
        return isinstance(value, (list, tuple)) and _elements_fit(value, origin, arguments)
    if inspect.isclass(origin or annotation) and issubclass(origin or annotation, Mapping):
        return isinstance(value, dict) and _items_fit(value, arguments)
    if inspect.isclass(annotation):
        if isinstance(value, (bool, int, float, str)):
            return isinstance(value, annotation) or (isinstance(value, str) and issubclass(annotation, _FROM_STRING))
        return isinstance(value, annotation) or not isinstance(value, (list, tuple, dict))
    return True


def _is_plain(annotation: Any) -> bool:
    """Whether only plain values fit, and no object does."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return all(map(_is_plain, arguments))
    return origin is typing.Literal or annotation in (type(None), bool, int, float, str)


def _is_sequence(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Sequence) and not issubclass(kind, (str, bytes))


def _elements_fit(values: Sequence[Any], origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(values) == len(arguments) and all(map(fits, values, arguments))
    return not arguments or all(fits(value, arguments[0]) for value in values)


def _items_fit(values: dict[Any, Any], arguments: tuple[Any, ...]) -> bool:
    if len(arguments) != 2:
        return True
    return all(fits(key, arguments[0]) and fits(value, arguments[1]) for key, value in values.items())


def describe(annotation: Any) -> str:
    """A readable name of a type."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(repr(argument) for argument in typing.get_args(annotation))
    if annotation is type(None):
        return "null"
    if typing.get_origin(annotation) is None and inspect.isclass(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")
