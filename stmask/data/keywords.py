"""One flat list of keywords for an object that is made of parts: a key of `conf/data` is named once, in its part."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

_Init = TypeVar("_Init", bound=Callable[..., None])
_Part = TypeVar("_Part")


def takes(*parts: type) -> Callable[[_Init], _Init]:
    """Gives a constructor that ends in `**keys` the keywords of `parts`; `made` takes them up, others are refused.

    Configurations are checked against the signature, so that each key has the type and the default of its part.

    Raises:
        ValueError: two parts have a keyword of the same name.
        TypeError: (of the constructor) a keyword that none of them has.
    """

    def with_keywords(init: _Init) -> _Init:
        own = inspect.signature(init)
        named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        annotations = typing.get_type_hints(init)
        for part in parts:
            named += inspect.signature(part).parameters.values()
            annotations |= typing.get_type_hints(part)
        signature = own.replace(parameters=named)  # ValueError: a name twice

        @wraps(init)
        def checked(*arguments: Any, **keys: Any) -> None:
            signature.bind(*arguments, **keys)
            init(*arguments, **keys)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        checked.__annotations__ = annotations
        return typing.cast(_Init, checked)

    return with_keywords


def made(part: type[_Part], keys: Mapping[str, Any]) -> _Part:
    """A part from those of the keys that are its own."""
    return part(**{name: keys[name] for name in inspect.signature(part).parameters if name in keys})
