"""All that this package takes from inside Hydra, which may change from one minor version to the next.

No other module touches a private name of Hydra's, or a module that its documentation doesn't name; a test holds that,
and another one tries each function of this file (tests/test_hydra_private.py).
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def parse(override: str) -> Override:
    """Reads one override: its `key_or_group`, `get_key_element()` and `value()`. Hydra keeps its grammar to itself.

    Raises:
        hydra.errors.HydraException: it cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(override)


def is_sweep(value: Any, *, of_commas: bool = False) -> bool:
    """Whether a parsed value stands for several runs; with `of_commas`, one that was written as `a,b`."""
    from hydra.core.override_parser.types import Sweep

    return isinstance(value, Sweep) and (not of_commas or bool(getattr(value, "simple_form", False)))


def glob_of(value: Any) -> tuple[Sequence[str], Sequence[str]] | None:
    """The patterns that a parsed `glob(..)` includes and excludes; None for another value."""
    from hydra.core.override_parser.types import Glob

    return (value.include, value.exclude) if isinstance(value, Glob) else None


def flag_parser() -> ArgumentParser:
    """Hydra's own parser of a command line (`-m`, `--cfg`, ..), which it offers for `hydra.main` only."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def configs_of(config_name: str, overrides: Sequence[str]) -> Iterator[tuple[str, str, DictConfig]]:
    """The files that a configuration of the running application is composed of, each laid over those before it.

    Args:
        config_name: of the primary file.
        overrides: that chose them.

    Yields:
        The file's path below its folder of configurations, the key that it is placed at ("": the top), its content.
        Those of the group `hydra` are left out.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode
    from omegaconf import DictConfig

    loader = GlobalHydra.instance().config_loader()
    for entry in loader.compute_defaults_list(config_name, list(overrides), RunMode.RUN).defaults:
        path = entry.config_path
        if path is None or path.startswith("hydra/"):
            continue
        if source := next((source for source in loader.get_sources() if source.is_config(path)), None):
            content = source.load_config(path).config
            assert isinstance(content, DictConfig)
            yield f"{path}.yaml", (entry.package or "").replace("_global_", ""), content


@contextmanager
def set_aside() -> Iterator[None]:
    """A block in which Hydra can be initialised again, and after which a running application finds its state.

    The documented `GlobalHydra.instance().clear()` forgets that state.
    """
    from hydra.core.global_hydra import GlobalHydra

    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer  # of the instance that there is now: `hydra.initialize` leaves another one
