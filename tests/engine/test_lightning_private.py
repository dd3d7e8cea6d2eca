"""One test for each thing that stmask/engine/lightning_private.py takes from inside Lightning."""

from __future__ import annotations

import inspect
import signal
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, RichProgressBar
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities import rank_zero_only

from stmask.engine.lightning_private import LoggedStep, leave_signals_alone, listen, set_rank

CHANGED = "Lightning has changed what stmask/engine/lightning_private.py takes from inside it: "


class Listener:
    """Notes the moments that it is told of, by optimiser steps."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def before_validation(self, trainer: pl.Trainer) -> None:
        self.told.append(("before validation", trainer.global_step))

    def between_steps(self, trainer: pl.Trainer) -> None:
        self.told.append(("between steps", trainer.global_step))


class Model(BoringModel):  # type: ignore[misc]
    """Three steps in an epoch, two batches of validation."""

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(3, 32))

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(2, 32))


def trainer(*callbacks: Callback, **given: Any) -> pl.Trainer:
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    return pl.Trainer(accelerator="cpu", enable_model_summary=False, callbacks=list(callbacks), **{**silent, **given})


@pytest.mark.parametrize(
    ("loop", "names"),
    [
        (_TrainingEpochLoop, ["advance", "on_advance_end", "done", "global_step", "on_save_checkpoint",
                              "on_load_checkpoint", "_should_check_val_fx", "_should_accumulate",
                              "_num_ready_batches_reached"]),
        (_FitLoop, ["done", "on_run_end", "min_steps", "max_steps", "_can_stop_early"]),
    ],
)  # fmt: skip
def test_the_parts_of_the_loops(loop: type, names: list[str]) -> None:
    assert [name for name in names if not hasattr(loop, name)] == [], f"{CHANGED}{loop.__name__}"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (_TrainingEpochLoop.__init__, ["self", "trainer", "min_steps", "max_steps"]),
        (_TrainingEpochLoop.advance, ["self", "data_fetcher"]),
        (_TrainingEpochLoop.on_advance_end, ["self", "data_fetcher"]),
        (_TrainingEpochLoop._should_check_val_fx, ["self", "data_fetcher"]),
        (_TrainingEpochLoop._should_accumulate, ["self"]),
        (_TrainingEpochLoop._num_ready_batches_reached, ["self"]),
        (_FitLoop.__init__, ["self", "trainer", "min_epochs", "max_epochs"]),
    ],
)
def test_the_methods_of_the_loops_take_what_they_took(method: Any, parameters: list[str]) -> None:
    assert list(inspect.signature(method).parameters) == parameters, f"{CHANGED}{method.__qualname__}"


def test_the_state_of_the_loops() -> None:
    """Attributes of instances, which only a new loop has."""
    made = trainer(min_steps=2, max_steps=9, min_epochs=1, max_epochs=4).fit_loop
    steps = made.epoch_loop
    limits = (made.min_epochs, made.max_epochs, steps.min_steps, made.max_steps)
    assert limits == (1, 4, 2, 9), f"{CHANGED}the limits of a fit loop"
    assert (steps._skip_next_val, steps._batches_that_stepped) == (False, 0), f"{CHANGED}_TrainingEpochLoop"
    assert steps.batch_progress.is_last_batch is False, f"{CHANGED}batch_progress"
    assert steps.val_loop.restarting is False, f"{CHANGED}val_loop.restarting"
    assert callable(steps.val_loop.run), f"{CHANGED}val_loop.run"
    assert isinstance(steps.on_save_checkpoint(), dict), f"{CHANGED}on_save_checkpoint"


def test_a_trainer_goes_by_the_loops_that_it_is_given() -> None:
    listener = Listener()
    made = trainer(max_epochs=2, num_sanity_val_steps=0)
    listen(made, listener)
    made.fit(Model())
    epoch = [("between steps", 1), ("between steps", 2), ("before validation", 3)]
    expected = [*epoch, *((moment, step + 3) for moment, step in epoch)]
    assert listener.told == expected, f"{CHANGED}trainer.fit_loop, or when its parts are called"


def test_a_callback_that_ends_a_training_has_it_validated() -> None:
    class Stop(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = True

    validated: list[int] = []

    class Count(Callback):
        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            validated.append(trainer.global_step)

    made = trainer(Stop(), Count(), max_epochs=4, num_sanity_val_steps=0, check_val_every_n_epoch=2)
    listen(made, Listener())
    made.fit(Model())
    assert validated == [3], f"{CHANGED}_FitLoop.on_run_end, val_loop.run"


def test_loggers_take_the_step_that_they_are_given(tmp_path: Any) -> None:
    class Ahead(Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.fit_loop.epoch_loop._batches_that_stepped = 7

    logged: list[Any] = []

    class Log(pl.loggers.Logger):
        name, version = "log", 0

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            logged.append(step)

    for callbacks in ([], [LoggedStep()]):
        logged.clear()
        made = trainer(Ahead(), *callbacks, LearningRateMonitor("step"), logger=Log(), max_steps=3, log_every_n_steps=1,
                       limit_val_batches=0)  # fmt: skip
        made.fit(Model())
        expected = [0, 1, 2] if callbacks else [7, 8, 9]
        assert sorted(set(logged)) == expected, f"{CHANGED}_batches_that_stepped"


def test_lightning_takes_signals_in_the_one_place_that_is_left_out() -> None:
    during: list[Any] = []

    class Look(Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            during.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    trainer(Look(), max_steps=1).fit(Model())
    assert during.pop() is not before, "Lightning takes no signals any more: leave_signals_alone may go"
    made = trainer(Look(), max_steps=1)
    leave_signals_alone(made)
    made.fit(Model())
    assert during.pop() is before, f"{CHANGED}_signal_connector.register_signal_handlers"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_rank_of_rank_zero_only(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    rank_zero_only(lambda: called.append(1))()
    set_rank(trainer())
    rank_zero_only(lambda: called.append(0))()
    assert called == [0], f"{CHANGED}rank_zero_only.rank"


def test_the_description_of_the_progress_bar() -> None:
    """What `ProgressBar` does with it is tested in test_callbacks.py."""
    parameters = list(inspect.signature(RichProgressBar._get_train_description).parameters)
    assert parameters == ["self", "current_epoch"], f"{CHANGED}RichProgressBar._get_train_description"
    bar = RichProgressBar()
    bar._trainer = trainer(max_epochs=-1)
    text = bar._get_train_description(3)
    assert "/-2" in text, "Lightning names no last epoch of -2 any more: lightning_private.ProgressBar may go"
