"""Callbacks of a training run."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class LoggedStep(Callback):
    """Loggers see the optimiser's step; Lightning's own count is one ahead after a resume from an epoch's end.

    Stands before every callback that logs.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
