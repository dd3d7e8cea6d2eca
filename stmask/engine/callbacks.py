"""Callbacks of a training run."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar


class LoggedStep(Callback):
    """Loggers see the optimiser's step; Lightning's own count is one ahead after a resume from an epoch's end.

    Stands before every callback that logs.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


class ProgressBar(RichProgressBar):
    """Lightning's, which names the last epoch as -2 where a training ends by steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        text = super()._get_train_description(current_epoch)
        return text.replace("/-2", "") if self.trainer.max_epochs == -1 else text
