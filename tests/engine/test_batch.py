"""The batch of an optimiser step, and the learning rate that follows it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from engine.runs import fit
from omegaconf import DictConfig, OmegaConf

from stmask.engine.build import batch_size_of
from stmask.errors import ConfigError


def config(**values: object) -> DictConfig:
    accumulated = values.pop("accumulated", 1)
    return OmegaConf.create(
        {"total_batch": None, "data": {"batch_size": 4}, "trainer": {"accumulate_grad_batches": accumulated}, **values}
    )


@pytest.mark.parametrize(
    ("values", "processes", "batch_size"),
    [
        ({}, 1, 4),
        ({}, 2, 4),
        ({"accumulated": 3}, 2, 4),
        ({"total_batch": 16}, 1, 16),
        ({"total_batch": 16}, 4, 4),
        ({"total_batch": 16, "accumulated": 2}, 4, 2),
    ],
)
def test_shares(values: dict[str, object], processes: int, batch_size: int) -> None:
    assert batch_size_of(config(**values), processes=processes) == batch_size


@pytest.mark.parametrize(
    ("values", "processes", "message"),
    [
        ({"total_batch": 16}, 3, "total_batch=16 cannot be shared equally by 3 processes: give a multiple of 3"),
        (
            {"total_batch": 6, "accumulated": 2},
            2,
            r"by 2 processes and trainer\.accumulate_grad_batches=2: give a multiple of 4",
        ),
    ],
)
def test_what_cannot_be_shared(values: dict[str, object], processes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        batch_size_of(config(**values), processes=processes)


def test_the_learning_rate_follows_the_pairs_of_a_step(dataset: Path, tmp_path: Path) -> None:
    """Four pairs of two frames, whatever they are made of, at a rate that is meant for one frame."""
    common = ["data.valid=null", "reference_batch=1", "optimizer.lr=1e-5", "scheduler.warmup_factor=1.0"]
    common += ["trainer.max_steps=2", "data.samples_per_epoch=8"]
    fit(dataset, tmp_path / "whole", *common, "total_batch=4")
    fit(dataset, tmp_path / "parts", *common, "total_batch=4", "trainer.accumulate_grad_batches=2")
    for name in ("whole", "parts"):
        with (tmp_path / name / "metrics.csv").open() as handle:
            rates = [float(row["lr-AdamW"]) for row in csv.DictReader(handle) if row["lr-AdamW"]]
        assert rates[0] == pytest.approx(8e-5)
