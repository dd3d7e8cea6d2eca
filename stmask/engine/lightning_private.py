"""All that this package takes from inside Lightning, which may change from one minor version to the next.

No other module touches a private name of Lightning's; a test holds that, and another one tries each touch of this file
(tests/engine/test_lightning_private.py). The loops are the larger part: Lightning's hooks lie within a step
(`on_train_batch_end` comes before the step's metrics are logged), and a checkpoint taken in the last of an epoch goes
on without the epoch's validation. Here a listener is called when a step is over, all of it, and when a validation is
due; a checkpoint taken at either moment goes on with what comes next.
"""

from __future__ import annotations

from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities import rank_zero_only

_DUE = "validation_due"


class StepListener(Protocol):
    """What is called between steps."""

    def before_validation(self, trainer: pl.Trainer) -> None:
        """The step is over, and the validation after it has not begun."""

    def between_steps(self, trainer: pl.Trainer) -> None:
        """The step, and its validation where there is one, is over, but not the epoch."""


def listen(trainer: pl.Trainer, listener: StepListener) -> None:
    """Gives a new trainer loops that call a listener between steps. They are private since 2.0."""
    old = trainer.fit_loop
    epochs = _Epochs(trainer, min_epochs=old.min_epochs, max_epochs=old.max_epochs)
    epochs.epoch_loop = _Steps(trainer, listener, min_steps=old.epoch_loop.min_steps, max_steps=old.max_steps)
    trainer.fit_loop = epochs


def leave_signals_alone(trainer: pl.Trainer) -> None:
    """Keeps Lightning from its own handlers, which talk to the other processes from within a step; none turns it off.

    `stmask.engine.interruption` takes the signals.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def set_rank(trainer: pl.Trainer) -> None:
    """`rank_zero_only` goes by the trainer, and not by what Lightning's import read from a shell's leftover RANK."""
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]


class LoggedStep(Callback):
    """Loggers see the optimiser's step; Lightning's own count is one ahead after a resume from an epoch's end.

    Stands before every callback that logs.
    """

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


class ProgressBar(RichProgressBar):
    """Lightning's, which names the last epoch as -2 where a run ends by steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        text = super()._get_train_description(current_epoch)
        return text.replace("/-2", "") if self.trainer.max_epochs == -1 else text


class _Steps(_TrainingEpochLoop):
    """The steps of an epoch.

    Attributes:
        validation_due: a validation was to come when the checkpoint was written that goes on.
        validated: optimiser steps before the last validation; None before the first.
    """

    def __init__(self, trainer: pl.Trainer, listener: StepListener, *, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self.listener = listener
        self.validation_due = False
        self.validated: int | None = None

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self.validation_due:  # straight on to on_advance_end
            self.val_loop.restarting = False
            return
        super().advance(data_fetcher)

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        """As the trainer's intervals say, and after the last step: what a run ends with is always measured."""
        if self._should_accumulate() and self.trainer.should_stop:  # it goes on to the end of the step
            return False
        if bool(super()._should_check_val_fx(data_fetcher)):
            return True
        last_epoch = self.trainer.current_epoch + 1 == self.trainer.max_epochs
        told = self.trainer.should_stop and self.trainer.fit_loop._can_stop_early
        ends = told or self.global_step == self.max_steps or (last_epoch and self.batch_progress.is_last_batch)
        return bool(self.trainer.enable_validation) and ends and not self._should_accumulate()

    @property
    def done(self) -> bool:
        """A run that is told to stop (by a time limit, by a callback) ends between two optimiser steps."""
        return super().done and not self._should_accumulate()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        done_before = self._skip_next_val  # a checkpoint from after the validation
        if not self.validation_due and not done_before and self._should_check_val_fx(data_fetcher):
            self.validation_due = True
            self.listener.before_validation(self.trainer)
        super().on_advance_end(data_fetcher)
        if self.validation_due:
            self.validated = self.global_step
        self.validation_due = False
        if not done_before and not self._should_accumulate() and not self._num_ready_batches_reached():
            self.listener.between_steps(self.trainer)

    def on_save_checkpoint(self) -> dict[str, Any]:
        return {**super().on_save_checkpoint(), _DUE: self.validation_due}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        self.validation_due = bool(state_dict.get(_DUE, False))


class _Epochs(_FitLoop):
    """The epochs of a run, which is not done while a validation is due."""

    epoch_loop: _Steps

    @property
    def done(self) -> bool:
        return not self.epoch_loop.validation_due and super().done

    def on_run_end(self) -> None:
        """Validates where a callback ended the run with its epoch, after the moment for validations."""
        steps = self.epoch_loop
        if self.trainer.should_stop and self.trainer.enable_validation and steps.validated != steps.global_step:
            self.trainer.validating = True
            steps._batches_that_stepped -= 1  # to be logged with the last step, as all that ends an epoch
            steps.val_loop.run()
            steps._batches_that_stepped += 1
            self.trainer.training = True
            steps.validated = steps.global_step
            steps.listener.between_steps(self.trainer)
        super().on_run_end()
