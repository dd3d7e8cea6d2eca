"""Rows that are trained with one seed are paired: the same samples in the same order, the same initial values."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from stmask.checkpoints import build_model
from stmask.config import compose, plain

BASELINE = "table4/t4_baseline"
OTHERS = [f"table4/t4_{name}" for name in ("fca", "fca_ada", "fca_ali", "fca_ada_tf", "fca_ali_tf")]
OTHERS += [f"table5/t5_{name}" for name in ("ada", "ali", "tf")]


@cache
def configuration(experiment: str) -> DictConfig:
    return compose("train", [f"experiment={experiment}", "recipe=tiny", "seed=3"])


@cache
def initial_values(experiment: str, seed: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(build_model(plain(configuration(experiment).model), num_classes=5).named_parameters())


def shared(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of weights that both have, in one shape."""
    return [name for name, value in one.items() if name in other and other[name].shape == value.shape]


@pytest.mark.parametrize("experiment", OTHERS)
def test_rows_begin_alike_wherever_they_have_the_same_part(experiment: str) -> None:
    baseline, row = initial_values(BASELINE), initial_values(experiment)
    names = shared(baseline, row)
    assert {name.partition(".")[0] for name in names} == {"backbone", "fpn", "protonet", "head"}
    assert [name for name in names if not torch.equal(baseline[name], row[name])] == []


def test_temporal_fusion_begins_alike_with_either_calibration() -> None:
    ada, ali = (initial_values(f"table4/t4_fca_{name}_tf") for name in ("ada", "ali"))
    names = [name for name in shared(ada, ali) if name.startswith("temporal.")]
    assert len(names) == 10
    assert all(torch.equal(ada[name], ali[name]) for name in names)


def test_another_seed_is_another_beginning_and_no_two_weights_are_copies() -> None:
    one, other = (initial_values(BASELINE, seed) for seed in (3, 4))
    weights = [name for name, value in one.items() if name.startswith("head.") and value.ndim > 1]
    assert not any(torch.equal(one[name], other[name]) for name in weights)
    assert not torch.equal(one["head.box_tower.0.weight"], one["head.mask_tower.0.weight"])


def test_rows_see_the_same_samples_in_the_same_order() -> None:
    """A sample depends on its number, the seed and these settings alone, see `SampleStream`."""
    made = [configuration(name) for name in (BASELINE, *OTHERS)]
    assert len({str((plain(cfg.data), cfg.total_batch)) for cfg in made}) == 1
    assert plain(made[0].data)["seed"] == 3
