"""When checkpoints are written: the best one, and the last one that a run goes on from."""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, Timer
from pytorch_lightning.plugins.io import TorchCheckpointIO

from stmask.checkpoints.format import write_file
from stmask.engine.interruption import StopRequest
from stmask.engine.metrics_log import MetricsLog
from stmask.errors import ConfigError
from stmask.runs.folder import RunFolder
from stmask.weights import read_file

_log = logging.getLogger(__name__)
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames: a kill at any moment leaves the last good file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_file(os.fspath(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_file(path)  # on the CPU, and nothing but tensors and plain values, whatever the caller says


class BestCheckpoint(ModelCheckpoint):
    """Writes best.ckpt after a validation that is better than all before, and remembers what it found.

    Attributes:
        metrics: all of the best validation; empty before the first.
        step: optimiser steps before it.
    """

    def __init__(self, folder: RunFolder, *, monitor: str) -> None:
        super().__init__(
            dirpath=folder.checkpoints,
            filename=folder.best.stem,
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.metrics: dict[str, float] = {}
        self.step = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        before = self.best_model_score
        super().on_validation_end(trainer, pl_module)
        if self.best_model_score is not before:
            self.metrics, self.step = validation_metrics(trainer), trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "figures": self.metrics, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state where best.ckpt is there, in whatever folder: it may have been moved.

        Whatever the file calls it: the file that a better one replaces, and so removes, is best.ckpt alone.
        """
        best = Path(str(self.dirpath)) / f"{self.filename}.ckpt"
        if not best.exists():
            return
        moved = {name: str(best) if state_dict[name] else "" for name in _PATHS}
        models = {str(best): score for score in list(state_dict["best_k_models"].values())[-1:]}
        super().load_state_dict({**state_dict, **moved, "dirpath": self.dirpath, "best_k_models": models})
        self.metrics, self.step = dict(state_dict["figures"]), int(state_dict["step"])


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt after every epoch, before every validation, every so many steps, and when told to stop.

    A run that goes on from it does and logs what one that was never stopped would have done. To be installed as the
    listener of `stmask.engine.lightning_private`.

    Args:
        folder: of the run.
        every: steps; None: not within epochs.
        stop: asked after each step.
        log: cut, when a run goes on, to what was logged before the checkpoint.

    Raises:
        Interrupted: out of `fit`, when it was told to stop and last.ckpt is written.
    """

    def __init__(self, folder: RunFolder, *, every: int | None, stop: StopRequest, log: MetricsLog) -> None:
        self._folder, self._every, self._stop, self._log = folder, every, stop, log
        self._seconds_before = 0.0
        self._start: float | None = None

    @property
    def seconds(self) -> float:
        """Spent in training, validation included, by all attempts up to where each was taken up."""
        return self._seconds_before + (0.0 if self._start is None else time.perf_counter() - self._start)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._stop.patient = True

    def before_validation(self, trainer: pl.Trainer) -> None:
        self._save(trainer)
        if self._stop.agreed(trainer):
            raise self._stop.interrupt()

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        # it begins again when the run goes on; under DDP the others could not know and would wait
        if self._stop.signal is not None and trainer.world_size == 1:
            raise self._stop.interrupt()

    def between_steps(self, trainer: pl.Trainer) -> None:
        told = self._stop.agreed(trainer)
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        due = self._every is not None and trainer.global_step % self._every == 0
        if told or last or due:
            self._save(trainer)
        if told and not last:
            raise self._stop.interrupt()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_last_batch:  # a run that ends within an epoch has its checkpoint
            return
        self._save(trainer)
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        last = last or trainer.current_epoch + 1 == trainer.max_epochs
        if self._stop.agreed(trainer) and not last:
            raise self._stop.interrupt()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.patient = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop.patient = False

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "rows": self._log.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = float(state_dict["seconds"])
        self._log.keep(rows=int(state_dict["rows"]))

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        trainer.save_checkpoint(self._folder.last, weights_only=False)
        self._folder.reached(trainer.global_step)


class TimeLimit(Timer):
    """Ends a run after so much time of this attempt, at the end of a step; a run that goes on has it anew.

    Args:
        duration: DD:HH:MM:SS, or the arguments of a timedelta.

    Raises:
        ConfigError: another form, or no time at all.
    """

    def __init__(self, duration: Any) -> None:
        try:
            parts = duration
            if isinstance(duration, str):
                days, hours, minutes, seconds = map(int, duration.split(":"))
                parts = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
            length = timedelta(**parts)
        except (TypeError, ValueError, OverflowError):
            length = timedelta()
        if length <= timedelta():
            raise ConfigError(f"trainer.max_time must be DD:HH:MM:SS, such as 00:11:30:00, got {duration!r}")
        super().__init__(length, verbose=False)

    def on_fit_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """The time begins with the first step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        before = trainer.should_stop
        super().on_train_batch_end(trainer, *args, **kwargs)
        if trainer.should_stop and not before and trainer.is_global_zero:
            _log.info("trainer.max_time is over after step %d; to go on: resume=auto", trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {}


def validation_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """What the latest validation logged."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("valid/")}
