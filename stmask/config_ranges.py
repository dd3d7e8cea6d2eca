"""Between which values a number of a configuration means something, by its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from stmask.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`.

    Attributes:
        low, high: the ends, which belong to it unless `above` or `below` says otherwise.
        above, below: the low (high) end does not belong to it.
        also: a number outside of it that has a meaning of its own.
    """

    low: float = 0
    high: float = math.inf
    above: bool = False
    below: bool = False
    also: float | None = None

    def holds(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return (low and high) or value == self.also

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low}"
        high = "" if self.high == math.inf else f" and {'below' if self.below else 'at most'} {self.high}"
        return low + high + ("" if self.also is None else f", or {self.also}")


_SHARE = Range(0, 1)
_COUNT = Range(1)
_RANGES = {
    "seed": Range(0, 2**32 - 1),  # what every random generator takes
    "data.seed": Range(0, 2**32 - 1),
    "total_batch": _COUNT,
    "devices": Range(1, 64),
    "reference_batch": _COUNT,
    "checkpoint_every": _COUNT,
    "max_skipped_in_a_row": Range(0),
    "optimizer.lr": Range(0, 10),  # 0 leaves the network as it is, for what is measured on the way
    "optimizer.momentum": Range(0, 1, below=True),
    "optimizer.weight_decay": _SHARE,
    "optimizer.betas.*": Range(0, 1, below=True),
    "scheduler.warmup_steps": Range(0),
    "scheduler.warmup_factor": _SHARE,
    "scheduler.total_steps": Range(1, also=-1),  # -1: no number of steps, of which the scheduler says more
    "scheduler.final_factor": _SHARE,
    "scheduler.milestones.*": _COUNT,
    "scheduler.gamma": Range(0, 1, above=True),
    "trainer.num_nodes": _COUNT,
    "trainer.max_steps": Range(1, also=-1),
    "trainer.max_epochs": Range(1, also=-1),
    "trainer.min_steps": Range(0),
    "trainer.min_epochs": Range(0),
    "trainer.accumulate_grad_batches": _COUNT,
    "trainer.gradient_clip_val": Range(0, above=True),
    "trainer.check_val_every_n_epoch": _COUNT,
    "trainer.val_check_interval": Range(0, above=True),
    "trainer.limit_train_batches": Range(0, above=True),
    "trainer.limit_val_batches": Range(0),
    "trainer.log_every_n_steps": _COUNT,
    "trainer.num_sanity_val_steps": Range(-1),
    "model.channels": Range(1, 2**14),
    "model.num_prototypes": Range(1, 2**12),
    "model.backbone.width": Range(1, 2**12),
    "data.batch_size": _COUNT,
    "data.samples_per_epoch": _COUNT,
    "data.repeat": _COUNT,
    "data.gap": _COUNT,
    "data.num_workers": Range(0, 512),
    "data.prefetch": _COUNT,
    "data.mix.*.weight": Range(0, above=True),
    "data.preprocessor.height": Range(32, 8192),  # a cell of C5, the coarsest map of the backbone, is 32 pixels
    "data.preprocessor.width": Range(32, 8192),
    "data.preprocessor.divisor": Range(1, 1024),
    "data.preprocessor.mean.*": Range(0, 255),
    "data.preprocessor.std.*": Range(0, 255, above=True),
    "records.clips": Range(0),
    "records.min_score": _SHARE,
}


def check_ranges(values: Mapping[str, Any], *, key: str = "") -> None:
    """Checks every number of a plain configuration; what is no number is somebody else's affair.

    Args:
        values: plain dicts, lists and values.
        key: of `values`, where they are not the whole configuration.

    Raises:
        ConfigError: a number that is not finite, or outside of the range of its key, which is named in full.
    """
    for name, value in sorted(values.items(), key=lambda item: isinstance(item[1], (Mapping, list, tuple))):
        _check(value, f"{key}.{name}" if key else str(name))


def _check(value: Any, key: str) -> None:
    if isinstance(value, Mapping):
        check_ranges(value, key=key)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _check(item, f"{key}.{number}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{key} must be a finite number, got {value}")
        allowed = _range_of(key)
        if allowed is not None and not allowed.holds(value):
            raise ConfigError(f"{key} must be {allowed}, got {value}")


def _range_of(key: str) -> Range | None:
    exact = _RANGES.get(key)
    return exact or next((allowed for pattern, allowed in _RANGES.items() if fnmatchcase(key, pattern)), None)
