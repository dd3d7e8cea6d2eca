from __future__ import annotations

import math
from typing import Any

import pytest

from stmask.config_check import check_ranges
from stmask.errors import ConfigError


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("optimizer.lr", 1e30, "optimizer.lr must be at least 0 and at most 10, got 1e+30"),
        ("optimizer.lr", math.nan, "optimizer.lr must be a finite number, got nan"),
        ("optimizer.lr", -1e-9, "optimizer.lr must be at least 0"),
        ("optimizer.momentum", 1, "optimizer.momentum must be at least 0 and below 1, got 1"),
        ("optimizer.weight_decay", -1, "optimizer.weight_decay must be"),
        ("optimizer.betas", [0.9, 1.0], "optimizer.betas.1 must be"),
        ("anything.of.mine", [{"x": -math.inf}], "anything.of.mine.0.x must be a finite number, got -inf"),
        ("seed", -1, "seed must be at least 0 and at most 4294967295, got -1"),
        ("seed", 2**32, "seed must be"),
        ("checkpoint_every", 0, "checkpoint_every must be at least 1, got 0"),
        ("total_batch", 0, "total_batch must be"),
        ("reference_batch", -8, "reference_batch must be"),
        ("scheduler.milestones", [0, 5], "scheduler.milestones.0 must be"),
        ("scheduler.gamma", 0, "scheduler.gamma must be above 0 and at most 1, got 0"),
        ("scheduler.warmup_steps", -1, "scheduler.warmup_steps must be"),
        ("trainer.max_steps", 0, "trainer.max_steps must be at least 1, or -1, got 0"),
        ("trainer.max_epochs", -2, "trainer.max_epochs must be"),
        ("trainer.log_every_n_steps", 0, "trainer.log_every_n_steps must be"),
        ("trainer.check_val_every_n_epoch", 0, "trainer.check_val_every_n_epoch must be"),
        ("trainer.gradient_clip_val", 0.0, "trainer.gradient_clip_val must be above 0, got 0.0"),
        ("trainer.accumulate_grad_batches", 0, "trainer.accumulate_grad_batches must be"),
        ("data.num_workers", -1, "data.num_workers must be at least 0 and at most 512, got -1"),
        ("data.batch_size", 0, "data.batch_size must be"),
        ("devices", 0, "devices must be at least 1 and at most 64, got 0"),
        ("data.gap", 0, "data.gap must be"),
        ("data.prefetch", 0, "data.prefetch must be"),
        ("data.preprocessor.height", 0, "data.preprocessor.height must be at least 32 and at most 8192, got 0"),
        ("data.preprocessor.width", 1, "data.preprocessor.width must be"),
        ("data.preprocessor.std", [58.0, 0, 57.0], "data.preprocessor.std.1 must be above 0"),
        ("data.mix", [{"weight": 0}], "data.mix.0.weight must be above 0, got 0"),
    ],
)
def test_nonsense_is_refused_by_its_key(key: str, value: Any, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_ranges(nested(key, value))
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", 0),
        ("trainer.max_steps", -1),
        ("seed", 2**32 - 1),
        ("data.samples_per_epoch", None),
        ("deterministic", True),
        ("no.row.of.ours", -5),
    ],
)
def test_what_has_a_meaning_passes(key: str, value: Any) -> None:
    check_ranges(nested(key, value))


def test_the_run_s_own_keys_come_before_those_of_its_groups() -> None:
    with pytest.raises(ConfigError, match="^seed must be"):
        check_ranges({"data": {"seed": -1}, "seed": -1, "optimizer": {"lr": -1}})
