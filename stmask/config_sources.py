"""Where the values of a configuration come from, for errors about two keys that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from stmask.hydra_private import configs_of

YOURS = "yours"
_STATED = re.compile(r"(?<![\w.\[{])(?P<key>[a-z_]\w*(?:\.\w+)*)=(?P<value>[^\s,;:()]+)")
_ANOTHER_KEY = re.compile(r"\$\{([\w.]+)\}")


def with_sources(message: str, cfg: DictConfig, *, config_name: str, overrides: Sequence[str]) -> str:
    """An error about a configuration with the source of each `KEY=VALUE` in it that the configuration has.

    A source is "yours" for what the command line sets, else the file that sets it last, below conf/. A key that
    repeats another (`${trainer.max_steps}`) becomes that one. Where all are yours, nothing is said.

    Args:
        message: of an error.
        cfg: as composed, in the application that runs.
        config_name: file of `conf/`, without its suffix.
        overrides: of the command line.
    """
    stated = {found["key"]: _asked_for(cfg, found["key"]) for found in _STATED.finditer(message) if _holds(cfg, found)}
    if not stated:
        return message
    yours = {re.split("[=@]", override.lstrip("+~"), maxsplit=1)[0] for override in overrides}
    files = list(configs_of(config_name, overrides))
    sources = {key: YOURS if key in yours else _file_of(key, files) for key in stated.values()}
    if set(sources.values()) <= {YOURS, None}:
        sources = {}
    return _STATED.sub(_noted(stated, sources), message)


def _noted(stated: dict[str, str], sources: dict[str, str | None]) -> Callable[[re.Match[str]], str]:
    told: set[str] = set()

    def note(found: re.Match[str]) -> str:
        key = stated.get(found["key"], found["key"])
        source = None if key in told else sources.get(key)
        told.add(key)
        return f"{key}={found['value']}" + (f" ({source})" if source else "")

    return note


def _holds(cfg: DictConfig, found: re.Match[str]) -> bool:
    value = OmegaConf.select(cfg, found["key"])
    return value is not None and found["value"] in (str(value), str(value).lower())


def _asked_for(cfg: DictConfig, key: str) -> str:
    """The key at the end of a chain of interpolations."""
    followed = [key]
    while True:
        above, _, name = followed[-1].rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        raw = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else {}
        found = _ANOTHER_KEY.fullmatch(str(raw.get(name) if isinstance(raw, dict) else None))
        if found is None or found[1] in followed:
            return followed[-1]
        followed.append(found[1])


def _file_of(key: str, files: Sequence[tuple[str, str, DictConfig]]) -> str | None:
    """The last file that sets a key; None where none does, and it is the default of what is called."""
    for file, package, content in reversed(files):
        for below in _below(key, package):
            if OmegaConf.select(content, below, throw_on_missing=False) is not None:
                return file
    return None


def _below(key: str, package: str) -> Iterator[str]:
    if not package:
        yield key
    elif key.startswith(f"{package}."):
        yield key.removeprefix(f"{package}.")
