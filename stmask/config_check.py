"""Checks a composed configuration before anything is built: arguments against signatures, numbers against ranges."""

from __future__ import annotations

import dataclasses
import math
import operator
import typing
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from stmask.errors import ConfigError
from stmask.signatures import TARGET, check_arguments, join, locate

_HYDRA_KEYS = frozenset({TARGET, "_partial_", "_recursive_", "_convert_", "_args_"})
_SHARE, _COUNT, _POSITIVE = "at least 0 and at most 1", "at least 1", "above 0"
_SIZE = "at least 32 and at most 8192"  # a cell of C5, the coarsest map of the backbone, is 32 pixels
_SEED = "at least 0 and at most 4294967295"  # what every random generator takes
# Between which values a number means something, by its key: SIGN NUMBER [and SIGN NUMBER][, or NUMBER]
_RANGES = {
    "seed": _SEED,
    "data.seed": _SEED,
    "total_batch": _COUNT,
    "devices": "at least 1 and at most 64",
    "reference_batch": _COUNT,
    "checkpoint_every": _COUNT,
    "max_skipped_in_a_row": "at least 0",
    "optimizer.lr": "at least 0 and at most 10",  # 0 leaves the network as it is, for what is measured on the way
    "optimizer.momentum": "at least 0 and below 1",
    "optimizer.weight_decay": _SHARE,
    "optimizer.betas.*": "at least 0 and below 1",
    "scheduler.warmup_steps": "at least 0",
    "scheduler.warmup_factor": _SHARE,
    "scheduler.total_steps": "at least 1, or -1",  # -1: no number of steps, of which the scheduler says more
    "scheduler.final_factor": _SHARE,
    "scheduler.milestones.*": "above 0",  # steps, or shares of them
    "scheduler.gamma": "above 0 and at most 1",
    "trainer.num_nodes": _COUNT,
    "ema.decay": _SHARE,
    "trainer.max_steps": "at least 1, or -1",
    "trainer.max_epochs": "at least 1, or -1",
    "trainer.min_steps": "at least 0",
    "trainer.min_epochs": "at least 0",
    "trainer.accumulate_grad_batches": _COUNT,
    "trainer.gradient_clip_val": _POSITIVE,
    "trainer.check_val_every_n_epoch": _COUNT,
    "trainer.val_check_interval": _POSITIVE,
    "trainer.limit_train_batches": _POSITIVE,
    "trainer.limit_val_batches": "at least 0",
    "trainer.log_every_n_steps": _COUNT,
    "trainer.num_sanity_val_steps": "at least -1",
    "model.channels": "at least 1 and at most 16384",
    "model.num_prototypes": "at least 1 and at most 4096",
    "model.backbone.width": "at least 1 and at most 4096",
    "data.batch_size": _COUNT,
    "data.samples_per_epoch": _COUNT,
    "data.repeat": _COUNT,
    "data.gap": _COUNT,
    "data.num_workers": "at least 0 and at most 512",
    "data.prefetch": _COUNT,
    "data.mix.*.weight": _POSITIVE,
    "data.preprocessor.height": _SIZE,
    "data.preprocessor.width": _SIZE,
    "data.preprocessor.divisor": "at least 1 and at most 1024",
    "data.preprocessor.mean.*": "at least 0 and at most 255",
    "data.preprocessor.std.*": "above 0 and at most 255",
    "records.clips": "at least 0",
    "records.min_score": _SHARE,
}
_SIGNS = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


def leaves(values: Any, *, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value below dicts and lists by its full key; of each dict or list its own values first."""
    children = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, child in sorted(children, key=lambda item: isinstance(item[1], (Mapping, list, tuple))):
        if isinstance(child, (Mapping, list, tuple)):
            yield from leaves(child, key=join(key, name))
        else:
            yield join(key, name), child


def check_fields(schema: type, values: Mapping[str, Any], *, key: str = "") -> None:
    """Checks plain values against a dataclass; nothing is converted, a "1" is not a 1.

    Raises:
        ConfigError: a field that it lacks, or a value of another type; the full key is named.
    """
    hints = typing.get_type_hints(schema)
    parts = {name for name in values if dataclasses.is_dataclass(hints.get(name)) and isinstance(values[name], Mapping)}
    check_arguments(schema, {name: value for name, value in values.items() if name not in parts}, key=key)
    for name in parts:
        check_fields(hints[name], values[name], key=join(key, name))


def check_targets(values: Any, *, key: str = "") -> None:
    """Checks the arguments of every `_target_` below `values`: they must exist, and plain values must have their type.

    Args:
        values: plain dicts, lists and values.
        key: of `values`, where they are not the whole configuration.

    Raises:
        ConfigError: a target that can't be imported, an argument that it does not have (with the nearest that it
            has), or a plain value of a type that its annotation excludes; the full key is named.
    """
    if isinstance(values, Mapping) and values.get(TARGET) is not None:
        target = locate(str(values[TARGET]), key=join(key, TARGET))
        arguments = {str(name): value for name, value in values.items() if name not in _HYDRA_KEYS}
        check_arguments(target, arguments, key=key)
    for name, child in values.items() if isinstance(values, Mapping) else enumerate(values):
        if isinstance(child, (Mapping, list)):
            check_targets(child, key=join(key, name))


def check_list_groups(values: Mapping[str, Any], groups: Iterable[str]) -> None:
    """Checks the groups of which several options may be chosen at once, each under its own name.

    Raises:
        ConfigError: a key of an option that was not chosen, one that stands above the options, or a file without the
            line that says its name.
    """
    for group in groups:
        options = values.get(group) or {}
        chosen = [name for name, part in options.items() if isinstance(part, Mapping) and part.get(TARGET) is not None]
        for name in [name for name in options if name not in chosen]:
            if name == TARGET:
                raise ConfigError(f"the option of the group {group} has no name: its file begins with # @package "
                                  f"{group}.NAME")  # fmt: skip
            if isinstance(options[name], Mapping):
                key = join(join(group, name), next(iter(options[name]), ""))
                both = ",".join([*chosen, name])
                raise ConfigError(f"{key} needs the option {name} of the group {group}: give {group}=[{both}]")
            keys = " or ".join(f"{group}.{option}.{name}" for option in chosen or ["NAME"])
            raise ConfigError(f"unknown key {join(group, name)!r}; each option has keys of its own: {keys}")


def check_ranges(values: Mapping[str, Any]) -> None:
    """Checks every number of a plain configuration.

    Raises:
        ConfigError: a number that is not finite, or outside of the range of its key, which is named in full.
    """
    for key, value in leaves(values):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        if not math.isfinite(value):
            raise ConfigError(f"{key} must be a finite number, got {value}")
        allowed = next((allowed for pattern, allowed in _RANGES.items() if fnmatchcase(key, pattern)), None)
        if allowed is not None and not _holds(allowed, value):
            raise ConfigError(f"{key} must be {allowed}, got {value}")


def _holds(allowed: str, value: float) -> bool:
    bounds, _, exception = allowed.partition(", or ")
    signs = (bound.rsplit(" ", 1) for bound in bounds.split(" and "))
    return all(_SIGNS[sign](value, float(bound)) for sign, bound in signs) or exception == str(value)
