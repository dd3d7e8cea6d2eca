"""Steps: those that are not finite are skipped and counted, and too many of them stop the training; what is logged."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from engine.tiny import TINY

from stmask.config import compose
from stmask.engine.module import VISModule
from stmask.engine.train import train
from stmask.errors import StmaskError
from stmask.models.stmask import STMask
from stmask.structures import Clip, LossReport


def fit(dataset: Path, output: Path, monkeypatch: pytest.MonkeyPatch, bad: set[int], *overrides: str) -> Path:
    """A run whose losses are not a number in the given steps."""
    losses, calls = STMask.losses, count(1)

    def poisoned(model: STMask, clip: Clip, *, generator: torch.Generator) -> LossReport:
        report = losses(model, clip, generator=generator)
        factor = float("nan") if next(calls) in bad else 1.0
        return replace(report, terms={**report.terms, "box": report.terms["box"] * factor})

    monkeypatch.setattr(STMask, "losses", poisoned)
    cfg = compose("train", [*TINY, f"data.root={dataset}", f"output_dir={output}", "data.valid=null", *overrides])
    train(cfg)
    return output / "checkpoints" / "last.ckpt"


def test_a_bad_step_changes_nothing_and_is_counted(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = torch.load(fit(dataset, tmp_path, monkeypatch, {2, 3}), weights_only=True)
    assert checkpoint["stmask"]["skipped_steps"] == 2
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert "train/skipped_steps" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_too_many_in_a_row_stop_the_training(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StmaskError, match="training diverged: 3 steps in a row"):
        fit(dataset, tmp_path, monkeypatch, set(range(1, 9)), "max_skipped_in_a_row=3", "trainer.max_steps=8")


def test_steps_are_logged_where_they_are_due_and_at_the_end_of_an_epoch(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[int, bool]] = []
    log = VISModule.log_dict

    def noted(module: VISModule, scalars: dict[str, torch.Tensor], **how: int) -> None:
        logged.append((module.global_step, "train/grad_norm" in scalars))
        log(module, scalars, **how)

    monkeypatch.setattr(VISModule, "log_dict", noted)
    traces = len(torch.cuda._queued_calls)
    steps = ["data.samples_per_epoch=10", "trainer.max_steps=8", "trainer.log_every_n_steps=3"]
    fit(dataset, tmp_path, monkeypatch, set(), *steps)
    assert logged == [(3, True), (5, True), (6, True)]  # five steps an epoch
    with (tmp_path / "metrics.csv").open() as handle:
        assert [row["step"] for row in csv.DictReader(handle) if row["train/loss"]] == ["2", "5"]
    assert len(torch.cuda._queued_calls) <= traces + 1  # one seed for the run, not one for each step


@pytest.mark.parametrize(("longest", "norm"), [(1.0, 1.0), (10.0, 5.0), (None, 5.0)])
def test_gradients_are_clipped_by_the_norm_that_was_measured(longest: float | None, norm: float) -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    module = VISModule(model, optimizer=torch.optim.SGD, scheduler=None, card=None)  # type: ignore[arg-type]
    module.log = lambda *_: None  # type: ignore[method-assign]
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer = torch.optim.SGD(model.parameters())
    module.on_before_optimizer_step(optimizer)
    module.configure_gradient_clipping(optimizer, longest, "norm")
    assert float(model.weight.grad.norm()) == pytest.approx(norm, rel=1e-5)
