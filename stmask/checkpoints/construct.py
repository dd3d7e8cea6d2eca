"""A network from plain data: registered classes called with checked values, and nothing else.

The `model` part of a configuration and of a checkpoint is a tree of `_target_` nodes. Of Hydra's other keys `_partial_`
alone means something here: a part whose remaining arguments its owner gives.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from stmask.checkpoints import registry
from stmask.errors import ConfigError, StmaskError
from stmask.signatures import (
    PARTIAL,
    TARGET,
    annotations_of,
    check_arguments,
    describe,
    join,
    missing_arguments,
    shown,
)

_DEEPEST, _LONGEST = 20, 10_000  # levels of a tree; characters of a string
_LARGEST = 2**53  # of integers


def plain(value: Any, *, key: str, limit: int = 100_000) -> Any:
    """A copy of plain data out of a file: dicts with names for keys, lists, strings, numbers, booleans, None.

    Args:
        value: whatever the file had.
        key: of it, for the errors.
        limit: values in all.

    Raises:
        ConfigError: anything else in it, interpolations, numbers that can't be meant, or too much of it.
    """
    left = limit

    def copy(value: Any, key: str, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ConfigError(f"{key} holds too much: more than {limit} values, or more than {_DEEPEST} levels")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Mapping):
            if odd := next((name for name in value if not isinstance(name, str)), None):
                raise ConfigError(f"{key} has a key that is not a name: {shown(odd)}")
            return {_text(name, key): copy(child, f"{key}.{name}", depth + 1) for name, child in value.items()}
        if isinstance(value, (list, tuple)):
            return [copy(child, f"{key}.{index}", depth + 1) for index, child in enumerate(value)]
        if isinstance(value, str):
            return _text(value, key)
        if isinstance(value, (int, float)):
            if not math.isfinite(value) or (isinstance(value, int) and abs(value) > _LARGEST):
                raise ConfigError(f"{key} is not a number that can be meant")
            return value
        raise ConfigError(f"{key} is of type {type(value).__name__}, not plain data")

    return copy(value, key, 0)


def _text(value: str, key: str) -> str:
    if len(value) > _LONGEST:
        raise ConfigError(f"{key} has a text of {len(value)} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{key} has a text that is not valid Unicode") from None
    if "${" in value:
        raise ConfigError(f"{key} is {shown(value)}: interpolations mean nothing here, and are not resolved")
    return value


def check(config: Mapping[str, Any], *, key: str) -> None:
    """Checks a tree of nodes without building it: every class is registered, every argument exists and has its type.

    Raises:
        ConfigError: what can't be built; the full key is named.
    """
    if TARGET in config:
        target, given = _call(config, key)
        check_arguments(target, given, key=key)
    for name, child in _nodes(config):
        check(child, key=join(key, name))


def build(config: Mapping[str, Any], *, key: str, **more: Any) -> Any:
    """What a checked tree of nodes describes.

    Args:
        config: see `check`.
        key: of it in its configuration, for the errors.
        more: further arguments of the outermost node.

    Raises:
        ConfigError: a value that a constructor refuses, or a part of another kind than its owner takes.
    """
    target, given = _call(config, key)
    arguments = {name: _built(value, join(key, name)) for name, value in given.items()} | more
    annotations = annotations_of(target)
    for name, value in arguments.items():
        part = isinstance(given.get(name), Mapping) and TARGET in given[name]
        if part and name in annotations and not _takes(annotations[name], value):
            wanted = describe(annotations[name])
            raise ConfigError(f"{join(key, name)} must be {wanted}, got {given[name][TARGET]}")
    if config.get(PARTIAL):
        return partial(target, **arguments)
    if missing := missing_arguments(target, arguments):
        raise ConfigError(f"{key} lacks {', '.join(missing)}, which {config[TARGET]} needs")
    try:
        return target(**arguments)
    except StmaskError as error:
        raise type(error)(f"{key}: {error}") from error
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise ConfigError(f"{key}: {error} ({config[TARGET].rpartition('.')[2]})") from error


def names_in(config: Any) -> Iterator[str]:
    """The names of all classes in a tree."""
    if isinstance(config, Mapping) and TARGET in config:
        yield str(config[TARGET])
    children = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    for child in children:
        yield from names_in(child)


def _call(node: Mapping[str, Any], key: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The registered class of a node, and its arguments as they stand there."""
    name = node[TARGET]
    target = registry.find(name, "model") if isinstance(name, str) else None
    if target is None:
        raise ConfigError(
            f"{key} wants {shown(name)} to be called, which is not registered as part of a model; "
            f"{registry.HOW_TO_ALLOW}"
        )
    given = {name: value for name, value in node.items() if name not in (TARGET, PARTIAL)}
    if not isinstance(node.get(PARTIAL, False), bool):
        raise ConfigError(f"{join(key, PARTIAL)} must be true or false, got {shown(node[PARTIAL])}")
    if others := [name for name in given if name.startswith("_")]:
        raise ConfigError(f"{join(key, others[0])} means nothing here: a part takes its arguments by their names")
    return target, given


def _nodes(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The outermost mappings below a value, with their keys in it."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        if isinstance(child, Mapping):
            yield str(name), child
        else:
            yield from ((join(str(name), rest), node) for rest, node in _nodes(child))


def _built(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        if TARGET in value:
            return build(value, key=key)
        return {name: _built(child, join(key, name)) for name, child in value.items()}
    if isinstance(value, list):
        return [_built(child, join(key, index)) for index, child in enumerate(value)]
    return value


def _takes(annotation: Any, value: Any) -> bool:
    """Whether a built part can be what an argument is annotated with."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_takes(argument, value) for argument in typing.get_args(annotation))
    if typing.get_origin(annotation) is Callable or getattr(annotation, "_is_protocol", False):
        return callable(value)
    return annotation is Any or not inspect.isclass(annotation) or isinstance(value, annotation)
