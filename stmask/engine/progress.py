"""How far a training run is, in lines, where its bar can't be seen."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from stmask.progress import ProgressLines


class TrainingLines(Callback):
    """Logs a line a minute while the run trains or validates; the first process does."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        total = int(steps) if 0 < steps < float("inf") else None
        self._training = ProgressLines("training", total, "steps", wanted=trainer.is_global_zero)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        shown = {name: value for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        self._training.reached(trainer.global_step, ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        wanted = trainer.is_global_zero and not trainer.sanity_checking
        self._validation = ProgressLines("validating", None, "videos or images", wanted=wanted)

    def on_validation_batch_end(self, *_: Any) -> None:
        self._validation.advance()
