"""What tests of several processes put into a training."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Probe(Callback):
    """Writes, as rank_N.txt, the step and a digest of the weights that a process ends with.

    Args:
        folder: for the files.
        stop_rank, stop_step: the process of this rank tells itself to stop after so many steps.
    """

    def __init__(self, folder: str, *, stop_rank: int = -1, stop_step: int = -1) -> None:
        self._folder = Path(folder)
        self._stop = stop_rank, stop_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == self._stop:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        digest = hashlib.sha256()
        for name, value in sorted(pl_module.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        (self._folder / f"rank_{trainer.global_rank}.txt").write_text(f"{trainer.global_step} {digest.hexdigest()}")
