"""Learning-rate schedules that count optimiser steps, the rule that scales the learning rate with the batch, and how
an optimiser is told to be quick on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from stmask.errors import ConfigError


def warmup_steps(
    optimizer: Optimizer,
    *,
    warmup_steps: int = 500,
    warmup_factor: float = 0.1,
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
    total_steps: int | None = None,
) -> LambdaLR:
    """Linear warm-up from `warmup_factor`, then the learning rate times `gamma` at each milestone.

    Args:
        milestones: steps; one below 1 is a share of `total_steps`.

    Raises:
        ConfigError: milestones that do not increase, or shares of a run without a number of steps.
    """
    if list(milestones) != sorted(set(milestones)):
        raise ConfigError(f"scheduler.milestones must increase, got {list(milestones)}")
    if (total_steps is None or total_steps < 0) and (shares := [one for one in milestones if 0 < one < 1]):
        raise ConfigError(
            f"scheduler.milestones={shares[0]} is a share of scheduler.total_steps, which is {total_steps}: give "
            "trainer.max_steps, or milestones in steps"
        )
    steps = [round(one * (total_steps or 0)) if 0 < one < 1 else one for one in milestones]

    def factor(step: int) -> float:
        passed = sum(step >= milestone for milestone in steps)
        return float(_warmup(step, warmup_steps, warmup_factor) * gamma**passed)

    return LambdaLR(optimizer, factor)


def warmup_cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup_steps: int = 500,
    warmup_factor: float = 0.1,
    final_factor: float = 0.01,
) -> LambdaLR:
    """Linear warm-up from `warmup_factor`, then half a cosine down to `final_factor` at `total_steps`.

    Raises:
        ConfigError: a warm-up that is longer than the run, or a run without a number of steps.
    """
    if total_steps < 0:
        raise ConfigError(
            "scheduler=warmup_cosine has to know the number of steps, and this run counts epochs "
            "(trainer.max_steps=-1): give scheduler.total_steps, or scheduler=warmup_steps"
        )
    if total_steps <= warmup_steps:
        raise ConfigError(
            f"scheduler.total_steps={total_steps} is not above scheduler.warmup_steps={warmup_steps}: give more steps, "
            "or a shorter warm-up"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _warmup(step, warmup_steps, warmup_factor)
        progress = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def scaled_learning_rate(lr: float, *, frames_per_batch: int, reference_batch: int | None) -> float:
    """The learning rate in proportion to the batch (the release: 1e-4 for 8 frames); unchanged without a reference."""
    return lr if reference_batch is None else lr * frames_per_batch / reference_batch


def _warmup(step: int, steps: int, factor: float) -> float:
    return 1.0 if step >= steps else factor + (1 - factor) * step / steps


def update_at_once(optimizer: Optimizer) -> None:
    """PyTorch's optimisers update a parameter by one kernel on a CPU too, three times faster; they do it when told.

    What a configuration says of it stays. Such kernels change parameters without raising their version.
    """
    for group in optimizer.param_groups:
        knows = {"fused", "foreach"} <= group.keys()
        if knows and group["fused"] is None and not any(map(group.get, ("foreach", "differentiable", "capturable"))):
            group["fused"] = True
