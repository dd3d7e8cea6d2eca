"""The options of the group `debug`, with a training each."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY
from hydra.utils import instantiate

from stmask.config import compose
from stmask.engine.train import train
from stmask.runs.folder import state_of

EXPERIMENTS = ["demo", "table1/t1_3x5", "coco/r50dcn_plain", "official/STMask_plus_resnet50"]


def fit(dataset: Path, output: Path, *overrides: str) -> dict[str, float]:
    return train(compose("train", [*TINY, f"data.root={dataset}", f"output_dir={output}", *overrides]))


def test_the_loss_of_a_few_samples_falls(dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path, "debug=overfit", "trainer.max_steps=30", "optimizer.lr=3e-3")
    with (tmp_path / "metrics.csv").open() as handle:
        losses = [float(row["train/loss"]) for row in csv.DictReader(handle) if row["train/loss"]]
    assert losses[-1] < losses[0] / 2


def test_a_fast_run_keeps_nothing(dataset: Path, tmp_path: Path) -> None:
    figures = fit(dataset, tmp_path, "debug=fast_dev_run")
    assert figures["step"] == 1
    assert "valid/AP" in figures
    assert state_of(tmp_path) == "done"
    assert not {"checkpoints", "metrics.csv", "summary.json", "validation"} & {path.name for path in tmp_path.iterdir()}


def test_a_profile_is_written(dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path, "debug=profiler", "trainer.max_steps=2", "data.valid=null")
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()


def test_anomalies_are_looked_for(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stmask.models.stmask.losses import criterion

    real = criterion.smooth_l1_box_loss

    def broken(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.sqrt(real(*args, **kwargs) * 0)  # its gradient is 0 * infinity

    monkeypatch.setattr(criterion, "smooth_l1_box_loss", broken)
    with pytest.raises(RuntimeError, match="returned nan values"):
        fit(dataset, tmp_path, "debug=anomaly", "data.valid=null", "model.loss.box_loss=smooth_l1")


@pytest.mark.parametrize("debug", ["overfit", "fast_dev_run", "profiler", "anomaly"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_goes_with_any_experiment(debug: str, experiment: str, tmp_path: Path) -> None:
    cfg = compose("train", [f"experiment={experiment}", f"debug={debug}"])
    assert cfg.output_root == "runs/debug"
    assert json.dumps(str(cfg.trainer))


@pytest.mark.parametrize("debug", ["overfit", "profiler"])
@pytest.mark.parametrize("choice", ["scheduler=warmup_cosine", *(f"experiment={name}" for name in EXPERIMENTS)])
def test_a_warm_up_fits_into_the_few_steps(debug: str, choice: str) -> None:
    cfg = compose("train", [choice, f"debug={debug}"])
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = instantiate(cfg.scheduler)(optimizer)  # refuses a warm-up as long as the training
    assert schedule.lr_lambdas[0](cfg.trainer.max_steps // 2) > 0.5
