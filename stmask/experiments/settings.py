"""The setting of a run: its overrides without paths; and when two configurations are equal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from stmask.config import compose
from stmask.errors import ConfigError
from stmask.runs.identity import NEUTRAL_KEYS, config_hash

# output locations, logging, and the run's place in a sweep
_NO_PART = NEUTRAL_KEYS | {"experiment", "seed", "search", "hydra"}
_NOT_THE_NETWORK = {
    "data",
    "optimizer",
    "scheduler",
    "trainer",
    "inference",
    "init_from",
    "total_batch",
    "deterministic",
}
# a run that differs from its row only in these still measures what the paper did
_AS_IN_THE_PAPER = {"trainer", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.precision",
                    "trainer.strategy", "total_batch", "data.batch_size", "deterministic", "init_from"}  # fmt: skip
_PAPER_RECIPES = {"paper", "release", "coco", "masktrack", "sipmask", "crossvis"}  # of table 6 some rows are theirs
_PAPER_DATASET = re.compile("(yt|youtube)vis2019|coco")
_RESOLVER = re.compile(r"\$\{[^}]*:")
_SIMPLE = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What a command line changed besides the row and the seed.

    Attributes:
        overrides: sorted, the last one of each key, paths shortened to their last part.
    """

    overrides: tuple[str, ...] = ()

    @staticmethod
    def of(overrides: Sequence[str]) -> Setting:
        """The setting in a run's overrides. Where outputs go, loggers, names and loader workers are not part of it.

        Paths are shortened because a dataset is elsewhere on another machine.
        """
        kept: dict[str, str] = {}
        for override in overrides:
            key, equals, value = override.partition("=")
            if {key.lstrip("+~"), _root(key)} & _NO_PART:
                continue
            kept[key] = f"{key}={_shortened(value)}" if equals else key
        return Setting(tuple(text for _, text in sorted(kept.items())))

    def __str__(self) -> str:
        return " ".join(self.overrides) or "as configured"

    @property
    def of_the_network(self) -> Setting:
        """The part that may make two rows equal. Rows are composed for it, once for all settings of a search."""
        return Setting(tuple(text for text in self.overrides if _root(text.partition("=")[0]) not in _NOT_THE_NETWORK))

    @property
    def like_the_paper(self) -> bool:
        """Whether dataset and recipe are the paper's or the release's, judging by their names."""
        return all(map(_changes_no_result, self.overrides))


def _root(key: str) -> str:
    return re.split("[./]", key.lstrip("+~"))[0]


def configuration_of(config: Mapping[str, Any]) -> str:
    """A hash that resolved configurations share if they differ only in seed and paths."""
    plain = {key: value for key, value in config.items() if key != "hydra"}
    if isinstance(plain.get("data"), Mapping):
        plain["data"] = {**plain["data"], "seed": None}  # the run's seed, written out
    return config_hash(_without_folders(plain))


@cache
def configuration_of_row(experiment: str, setting: Setting) -> str | None:
    """The hash of a row under a setting, as conf/ is now; None if it can't be composed (any more).

    A setting comes from a run's file: one that calls a resolver, such as oc.env, is not composed.

    """
    if any(map(_RESOLVER.search, setting.overrides)):
        return None
    try:
        cfg = compose("train", [f"experiment={experiment}", *setting.overrides], check=False)
    except (ConfigError, OSError):  # no row of ours, or a name that no file can have
        return None
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return configuration_of({str(key): value for key, value in plain.items()})


def _changes_no_result(override: str) -> bool:
    key, _, value = override.partition("=")
    if key == "recipe":
        return value in _PAPER_RECIPES
    if key in ("data", "data.root"):
        return _PAPER_DATASET.search(re.sub("[^a-z0-9]", "", value.lower())) is not None
    return key in _AS_IN_THE_PAPER


def _shortened(value: str) -> str:
    bare = value.strip("'\"")
    if "/" not in bare or bare[0] in "[{":
        return value
    last = bare.rstrip("/").rpartition("/")[2]
    return last if _SIMPLE.fullmatch(last) else f"'{last}'"


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_without_folders(child) for child in value]
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value
