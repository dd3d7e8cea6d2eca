"""An exponential moving average of the weights: what is validated and saved, while training goes on with its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stmask.errors import CheckpointError
from stmask.number_checks import require_number

_ENTRY = "ema"  # of the checkpoint's dict


class WeightAverage(Callback):
    """Keeps the average of the network's weights over the steps, the latest weighing most.

    Validation runs with the average, and checkpoints hold it as the network's weights, so that it is what `evaluate`,
    `predict` and `init_from` take; the weights that training goes on with are part of this callback's state.

    Args:
        decay: share of the average that a step keeps, from 0 to 1. In the first steps it is
            (1 + step) / (10 + step) where that is less, so that the average soon forgets the random beginning.
    """

    def __init__(self, *, decay: float = 0.999) -> None:
        require_number(high=1.0, decay=decay)
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        self._pairs: list[tuple[Tensor, Tensor]] = []  # of the average and of the network, which stay the same tensors
        self._steps = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """On the device, with the weights that the run starts from; after a checkpoint was taken up, nothing to do."""
        if not self._average:
            self._average = {name: value.detach().clone() for name, value in _weights(pl_module)}
        self._average = {name: self._average[name].to(value.device) for name, value in _weights(pl_module)}
        self._pairs = [(self._average[name], value.detach()) for name, value in _weights(pl_module)]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == self._steps:  # gradients were only accumulated
            return
        self._steps = trainer.global_step
        kept = min(self.decay, (1 + self._steps) / (10 + self._steps))
        floats, current = [], []
        for average, value in self._pairs:
            if value.is_floating_point():
                floats.append(average)
                current.append(value)
            else:  # counters
                average.copy_(value)
        get_ema_multi_avg_fn(kept)(floats, current, self._steps)  # type: ignore[no-untyped-call]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        trained = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: self._average[name] for name in trained}
        checkpoint[_ENTRY] = {"steps": self._steps, "trained": trained}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        entry = checkpoint.get(_ENTRY)
        if not isinstance(entry, dict):
            raise CheckpointError("this checkpoint is of a run without an average of its weights: give ema=off")
        self._average = {name: value.detach().clone() for name, value in _weights(pl_module)}  # Lightning filled it
        self._steps = int(entry["steps"])
        pl_module.load_state_dict(entry["trained"])

    def _swap(self, module: nn.Module) -> None:
        with torch.inference_mode(False), torch.no_grad():  # a tensor made in inference mode can't be changed after it
            for name, value in _weights(module):
                trained = value.detach().clone()
                value.copy_(self._average[name])
                self._average[name].copy_(trained)


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Everything that a checkpoint keeps of the module, the tensors themselves."""
    yield from module.state_dict(keep_vars=True).items()
