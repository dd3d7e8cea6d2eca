from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stmask.engine.optimisation import scaled_learning_rate, update_at_once, warmup_cosine, warmup_steps
from stmask.errors import ConfigError


def rates(make: object, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)  # type: ignore[operator]
    out = []
    for _ in range(steps):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return out


def test_warm_up_and_steps() -> None:
    got = rates(lambda o: warmup_steps(o, warmup_steps=2, warmup_factor=0.5, milestones=[4, 6]), 8)
    assert got == pytest.approx([0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_milestones_may_be_shares_of_the_run() -> None:
    shares = [0.5, 0.8333]
    got = rates(lambda o: warmup_steps(o, warmup_steps=2, warmup_factor=0.5, milestones=shares, total_steps=6), 6)
    assert got == pytest.approx([0.5, 0.75, 1, 0.1, 0.1, 0.01])
    for total in (None, -1):
        with pytest.raises(
            ConfigError, match=rf"milestones=0.5 is a share of scheduler.total_steps, which is {total}: "
        ):
            rates(lambda o, total=total: warmup_steps(o, milestones=shares, total_steps=total), 1)


def test_warm_up_and_cosine() -> None:
    got = rates(lambda o: warmup_cosine(o, total_steps=6, warmup_steps=2, warmup_factor=0, final_factor=0.2), 8)
    assert got == pytest.approx([0, 0.5, 1, 0.6 + 0.4 * 0.70711, 0.6, 0.6 - 0.4 * 0.70711, 0.2, 0.2], abs=1e-4)


def test_the_releases_rule() -> None:
    assert scaled_learning_rate(1e-4, frames_per_batch=32, reference_batch=8) == pytest.approx(4e-4)
    assert scaled_learning_rate(1e-4, frames_per_batch=32, reference_batch=None) == 1e-4


def test_refusals() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match=r"milestones must increase, got \[5, 3\]"):
        warmup_steps(optimizer, milestones=[5, 3])
    with pytest.raises(ConfigError, match=r"total_steps=4 is not above scheduler.warmup_steps=9"):
        warmup_cosine(optimizer, total_steps=4, warmup_steps=9)
    with pytest.raises(ConfigError, match=r"counts epochs .*: give scheduler\.total_steps, or scheduler=warmup_steps"):
        warmup_cosine(optimizer, total_steps=-1)


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        (torch.optim.AdamW, True),
        (torch.optim.SGD, True),
        (lambda parameters: torch.optim.AdamW(parameters, foreach=True), None),
        (lambda parameters: torch.optim.AdamW(parameters, fused=False), False),
    ],
)
def test_one_kernel_for_each_parameter_unless_the_user_said_otherwise(make: Callable[..., Any], fused: object) -> None:
    optimizers = []
    for told in (False, True):
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = make([parameter])
        if told:
            update_at_once(optimizer)
        for _ in range(3):
            parameter.grad = parameter.detach().square() + 1
            optimizer.step()
        optimizers.append((optimizer, parameter))
    (_, plain), (optimizer, parameter) = optimizers
    assert optimizer.param_groups[0]["fused"] is fused
    torch.testing.assert_close(parameter, plain)


def test_an_optimiser_that_knows_no_such_kernel_stays_as_it_is() -> None:
    optimizer = torch.optim.Rprop([torch.nn.Parameter(torch.zeros(1))])
    update_at_once(optimizer)
    assert "fused" not in optimizer.param_groups[0]
