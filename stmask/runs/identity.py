"""What makes two runs the same run: their configurations, without what changes nothing in the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stmask.config import plain

# where things go, how they are shown, how fast they are read, what is measured of them, and what is computed on, which
# changes a result by rounding: a sweep that was begun on a GPU goes on without one
NEUTRAL_KEYS = frozenset(
    {
        "name", "tags", "trust", "output_root", "output_dir", "resume", "logger", "records",
        "trainer.enable_progress_bar", "data.num_workers", "data.prefetch", "data.cache", "data.task",
        "checkpoint_every", "keep_last", "retry_failed", "hydra", "trainer.accelerator", "trainer.deterministic",
        "deterministic",
    }
)  # fmt: skip
# what a resumed run may change: how long it goes on
_EXTENDABLE = frozenset({"trainer.max_steps", "trainer.max_epochs", "trainer.max_time"})
_DIGITS = 8


def config_hash(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that two configurations share if they train the same network the same way.

    The seed has no part in it: the runs of one configuration with several seeds belong together. A plain configuration
    is taken as it stands: it may be out of someone's file, where interpolations are text.
    """
    values: Mapping[str, Any] = plain(OmegaConf.merge(cfg, {"seed": 0})) if isinstance(cfg, DictConfig) else cfg
    text = json.dumps(sorted(_leaves({**values, "seed": 0})), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def config_changes(before: Mapping[str, Any], after: DictConfig) -> list[str]:
    """What a run that goes on with another configuration would change, a line `KEY: OLD -> NEW` each.

    Left out is what a run may change on its way: places, loggers, workers, and how long it goes on.

    Args:
        before: plain, as it was written.
        after: the one that is asked for.
    """
    old, new = leaves_of(before), leaves_of(plain(after))
    keys = sorted((old.keys() | new.keys()) - _EXTENDABLE)
    return [f"{key}: {_shown(old, key)} -> {_shown(new, key)}" for key in keys if _shown(old, key) != _shown(new, key)]


def leaves_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of a plain configuration in full with its value, but for those that change nothing in the result."""
    return dict(_leaves(config))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key in full with its plain value; a list is a value."""
    for name, child in value.items():
        key = f"{prefix}{name}"
        if key in NEUTRAL_KEYS:
            continue
        if isinstance(child, Mapping):
            yield from _leaves(child, f"{key}.")
        else:
            yield key, child


def _shown(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key], default=str) if key in leaves else "nothing"
