"""Steps that are not finite: skipped, counted, and too many of them stop the training."""

from __future__ import annotations

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
