"""The average of the weights: its values, what checkpoints hold, and that a run with it goes on exactly."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from engine.runs import assert_same_run, content, fit, same, signalled

from stmask.errors import CheckpointError, Interrupted

EMA = ["ema=on", "ema.decay=0.5"]


def trained(output: Path) -> dict[str, torch.Tensor]:
    return content(output)["ema"]["trained"]


def test_training_goes_on_with_its_own_weights_and_the_average_is_what_is_saved(dataset: Path, tmp_path: Path) -> None:
    for name, more in (("plain", ["ema=off"]), ("ema", EMA)):
        fit(dataset, tmp_path / name, "scheduler=constant", "trainer.max_steps=2", *more)
    assert same(trained(tmp_path / "ema"), content(tmp_path / "plain")["state_dict"])
    fit(dataset, tmp_path / "one", "scheduler=constant", "trainer.max_steps=1", *EMA)
    fit(
        dataset,
        tmp_path / "start",
        "scheduler=constant",
        "trainer.max_steps=1",
        "ema=on",
        "ema.decay=1",
        "optimizer.lr=0",
    )
    start, first, second = trained(tmp_path / "start"), trained(tmp_path / "one"), trained(tmp_path / "ema")
    average = content(tmp_path / "ema")["state_dict"]
    for name, value in average.items():
        after_one = start[name] + (first[name] - start[name]) * (1 - 2 / 11)
        torch.testing.assert_close(value, after_one + (second[name] - after_one) * (1 - 3 / 12), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("hook", "step"), [("training_step", 3), ("validation_step", 5), ("on_validation_epoch_end", 5)]
)
def test_a_stopped_run_goes_on_exactly(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int
) -> None:
    fit(dataset, tmp_path / "whole", *EMA)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, hook, signal.SIGTERM, step=step)
        fit(dataset, tmp_path / "parts", *EMA)
    fit(dataset, tmp_path / "parts", "resume=auto", *EMA)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert same(trained(tmp_path / "whole"), trained(tmp_path / "parts"))


def test_a_run_without_an_average_does_not_go_on_with_one(dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path / "plain", "ema=off", "trainer.max_steps=2")
    (tmp_path / "plain" / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match="give ema=off"):
        fit(dataset, tmp_path / "plain", "resume=auto", *EMA)
