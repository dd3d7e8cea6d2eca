from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from stmask.config import explain
from stmask.engine import preflight
from stmask.engine.checkpoint_callbacks import TimeLimit
from stmask.errors import ConfigError

SGD = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
STEPS = {"_target_": "stmask.engine.optimisation.warmup_steps", "_partial_": True, "warmup_steps": 2}
COSINE = {"_target_": "stmask.engine.optimisation.warmup_cosine", "_partial_": True, "total_steps": 5}


def config(**changes: Any) -> DictConfig:
    option = {"_target_": "a.b"}
    groups = dict.fromkeys(("model", "data", "trainer"), option)
    return OmegaConf.create({**groups, "optimizer": SGD, "scheduler": STEPS, **changes})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"scheduler": None}, "group scheduler: give scheduler=OPTION; scheduler=constant leaves the learning rate"),
        ({"model": None}, "group model: give model=OPTION"),
        ({"data": {"root": "x"}}, "group data: give data=OPTION"),
        ({"optimizer": {"lr": 1}}, "group optimizer"),
    ],
)
def test_a_training_needs_its_groups(change: dict[str, Any], complaint: str) -> None:
    preflight.check_groups(config())
    with pytest.raises(ConfigError, match=complaint):
        preflight.check_groups(config(**change))


@pytest.mark.parametrize(
    ("gpus", "trainer", "complaint"),
    [
        (0, {"accelerator": "tpu"}, "trainer.accelerator must be auto, cpu, gpu, cuda, got 'tpu'"),
        (0, {"accelerator": "mps"}, "trainer.accelerator must be"),
        (0, {"accelerator": "gpu"}, "this machine has no GPU; give trainer=cpu"),
        (0, {"accelerator": "cpu", "devices": 99}, "trainer.devices=99: this machine has 2 CPU cores for 99 processes"),
        (0, {"precision": "64-true"}, "trainer.precision must be 32-true, 16-mixed or bf16-mixed, got '64-true'"),
        (
            0,
            {"val_check_interval": "00:00:10:00"},
            r"a number of steps \(500\) or a share of an epoch \(0.5\), got '00:",
        ),
        (0, {"val_check_interval": {"minutes": 1}}, "trainer.val_check_interval must be a .*, got {'minutes': 1}"),
        (0, {"strategy": "ddp_spawn"}, "trainer.strategy=ddp_spawn loses .*; give trainer.strategy=ddp"),
        (0, {"strategy": "ddp_notebook"}, "trainer.strategy=ddp_notebook"),
        (0, {"num_nodes": 2}, "trainer.num_nodes=2: nothing says where the other machines are"),
    ],
)
def test_what_a_trainer_can_not_be(
    gpus: int, trainer: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(preflight.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=complaint):
        preflight.check_trainer(OmegaConf.create(trainer))
        preflight.check_machine(OmegaConf.create(trainer))


@pytest.mark.parametrize(
    ("gpus", "trainer"),
    [
        (0, {}),
        (0, {"accelerator": "auto", "devices": "auto", "precision": 16}),
        (0, {"accelerator": "cpu", "devices": 3}),
        (0, {"val_check_interval": 0.5, "strategy": "ddp_find_unused_parameters_true"}),
        (2, {"accelerator": "gpu", "devices": -1, "precision": "bf16-mixed"}),
        (2, {"accelerator": "gpu", "devices": [1, 0]}),
        (2, {"accelerator": "cpu", "devices": 4}),
    ],
)
def test_what_a_trainer_can_be(gpus: int, trainer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    preflight.check_trainer(OmegaConf.create(trainer))
    preflight.check_machine(OmegaConf.create(trainer))


@pytest.mark.parametrize(
    ("gpus", "devices", "complaint"),
    [
        (0, 0, "`Trainer(devices=0)` value is not a valid input using cpu accelerator."),
        (0, -1, "`devices` selected with `CPUAccelerator` should be an int > 0."),
        (0, [0, 1], "`devices` selected with `CPUAccelerator` should be an int > 0."),
        (0, "two", "`devices` selected with `CPUAccelerator` should be an int > 0."),
        (2, 3, "You requested gpu: [0, 1, 2]; But your machine only has: [0, 1]"),
        (2, 0, "`Trainer(devices=0)` value is not a valid input using cuda accelerator."),
        (2, [0, 2], "You requested gpu: [0, 2]; But your machine only has: [0, 1]"),
        (2, [1, 1], "Device ID's (GPU) must be unique."),
    ],
)
def test_of_devices_lightning_says_it_clearly(
    gpus: int, devices: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, under the key of the trainer; see `stmask.config.explain`."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    config = OmegaConf.create({"trainer": {"_target_": "pytorch_lightning.Trainer", "devices": devices}})
    preflight.check_trainer(config.trainer)
    preflight.check_machine(config.trainer)
    with pytest.raises(InstantiationException) as caught:
        instantiate(config.trainer, logger=False)
    assert str(explain(caught.value)) == f"trainer: {complaint}"


@pytest.mark.parametrize("duration", ["4 hours", "00:00:00:00", "1:00:00", {}, {"hour": 1}, {"seconds": -1}, 5])
def test_a_time_limit_that_is_not_one(duration: Any) -> None:
    message = f"trainer.max_time must be DD:HH:MM:SS, such as 00:11:30:00, got {duration!r}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        TimeLimit(duration)


def test_a_time_limit_in_both_forms() -> None:
    assert TimeLimit("01:00:00:04").time_remaining() == 86404
    assert TimeLimit({"minutes": 1}).time_remaining() == 60


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"optimizer": {**SGD, "momentum": -1}}, "optimizer: Invalid momentum value: -1"),
        ({"optimizer": {**SGD, "nesterov": True}}, "optimizer: Nesterov momentum requires a momentum"),
        ({"scheduler": {**STEPS, "milestones": [3, 2]}}, "scheduler.milestones must increase"),
        (
            {"scheduler": COSINE},
            "scheduler.total_steps=5 is not above scheduler.warmup_steps=500: give more steps, or a shor",
        ),
    ],
)
def test_optimiser_and_schedule_are_tried(change: dict[str, Any], complaint: str) -> None:
    preflight.check_optimisation(config())
    with pytest.raises(ConfigError, match=complaint):
        preflight.check_optimisation(config(**change))


def test_a_learning_rate_of_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    preflight.check_optimisation(config(optimizer={**SGD, "lr": 0}))
    assert caplog.messages == ["optimizer.lr=0: the network stays as it is"]


def trainer(**changes: Any) -> Any:
    limits = {"limit_train_batches": 1.0, "limit_val_batches": 1.0}
    usual = {**limits, "val_check_interval": 1.0, "check_val_every_n_epoch": 1}
    return SimpleNamespace(**{**usual, "max_steps": 50, "max_epochs": -1, "accumulate_grad_batches": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"val_check_interval": 1000},
            "trainer.val_check_interval=1000 is longer than an epoch, which has 3 batches; "
            "trainer.check_val_every_n_epoch=null counts over epochs",
        ),
        ({"val_check_interval": 3, "limit_train_batches": 2}, "is longer than an epoch, which has 2 batches"),
        ({"limit_train_batches": 0.1}, "trainer.limit_train_batches=0.1: there are 3 batches in an epoch; give more"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches=0"),
        ({"limit_val_batches": 0.1}, "trainer.limit_val_batches=0.1: there are 2 videos to validate; give more"),
    ],
)
def test_intervals_that_fit_in_no_epoch(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        preflight.check_intervals(config(), trainer(**changes), batches=3, validated=2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"val_check_interval": 0.01}, []),
        ({"val_check_interval": 1000, "check_val_every_n_epoch": None}, []),
        ({"val_check_interval": 3}, []),
        (
            {"val_check_interval": 1},
            ["trainer.val_check_interval=1 validates after every step; 1.0 is once in an epoch"],
        ),
        (
            {"max_steps": 2},
            ["scheduler.warmup_steps=2: this run has 2 steps and never comes to optimizer.lr"],
        ),
        (
            {"max_steps": -1, "max_epochs": 1, "accumulate_grad_batches": 2},
            ["scheduler.warmup_steps=2: this run has 2 steps and never comes to optimizer.lr"],
        ),
        ({"max_steps": -1, "max_epochs": 1}, []),
    ],
)
def test_what_is_odd_is_said(changes: dict[str, Any], said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        preflight.check_intervals(config(), trainer(**changes), batches=3)
    assert caplog.messages == said
