"""The LightningModule: a thin layer between a model and the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stmask.checkpoints import ModelCard
from stmask.checkpoints.format import ENTRY, entry_of
from stmask.engine.optimisation import update_at_once
from stmask.engine.validation import Validator
from stmask.errors import StmaskError
from stmask.models import VideoModel
from stmask.structures import Clip

OptimizerFactory = Callable[[Iterable[Tensor]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class VISModule(pl.LightningModule):
    """Trains on clips, validates by what it is given.

    Args:
        model: with its losses.
        optimizer: makes the optimiser from parameters.
        scheduler: makes the learning-rate schedule, stepped after every optimiser step.
        card: written into every checkpoint.
        validator: runs and scores the items of the validation loader; None where there is none.
        max_skipped_in_a_row: so many steps with a gradient that is not finite are skipped before training stops.
        seed: of what a step draws at random.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        card: ModelCard,
        validator: Validator | None = None,
        max_skipped_in_a_row: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        # as the frames are: otherwise every convolution lays its weight out anew
        self.model = model
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # for modules it is there
        self.card = card
        self.validator = validator
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._max_skipped_in_a_row = max_skipped_in_a_row
        self._seed = seed
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._norm = torch.zeros(())  # of the last step's gradient
        self._scalars: dict[str, Tensor] = {}  # of the last step

    # training

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        # what a step draws depends on its number alone, so that a resumed run draws what an unbroken one would
        seed = hash((self._seed, self.current_epoch, batch_index, self.global_rank)) & 0x7FFFFFFF
        # of layers such as dropout; torch.manual_seed keeps a trace of the stack for every GPU that is not there
        torch.default_generator.manual_seed(seed) if self.device.type == "cpu" else torch.manual_seed(seed)
        report = self.model.losses(clip, generator=torch.Generator().manual_seed(seed))
        total = report.total
        self._scalars = {f"train/{name}": value.detach() for name, value in report.terms.items()}
        self._scalars |= {f"train/{name}": torch.tensor(float(count)) for name, count in report.counts.items()}
        self._scalars["train/loss"] = total.detach()
        return total

    def on_train_batch_end(self, outputs: Any, batch: Clip, batch_index: int) -> None:
        """Logs the step if anyone is told of it: on a CPU Lightning takes half a millisecond for each scalar."""
        trainer: Any = self.trainer
        due = trainer.global_step % trainer.log_every_n_steps == 0 or trainer.should_stop or trainer.fast_dev_run
        if due or trainer.is_last_batch:  # callbacks may look at the last of an epoch
            self.log_dict(self._scalars, batch_size=len(batch))
        if due or trainer.progress_bar_callback is not None:
            self.log("loss", self._scalars["train/loss"], prog_bar=True, logger=False, batch_size=len(batch))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measures the gradient, and empties it where it is not finite: an optimiser leaves such parameters alone.

        The gradients are those after the reduction over processes, so that all of them decide alike. A loss scaler
        (16-mixed) skips such steps by itself and has unscaled the gradients already.
        """
        gradients = [p.grad for p in _parameters(optimizer) if p.grad is not None]
        if not gradients:
            return
        self._norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(self._norm)):
            self.skipped_steps += 1
            self._skipped_in_a_row += 1
            if getattr(self.trainer.precision_plugin, "scaler", None) is None:
                for parameter in _parameters(optimizer):
                    parameter.grad = None
        else:
            self._skipped_in_a_row = 0
            self._scalars["train/grad_norm"] = self._norm
        self._scalars["train/skipped_steps"] = torch.tensor(float(self.skipped_steps))
        if self._skipped_in_a_row >= self._max_skipped_in_a_row:
            raise StmaskError(
                f"training diverged: {self._skipped_in_a_row} steps in a row had a gradient that is not finite (up to "
                f"step {self.global_step}); lower optimizer.lr, raise scheduler.warmup_steps, or use 32-true precision"
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning's, with the norm that was measured already."""
        if gradient_clip_algorithm not in (None, "norm"):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val and float(self._norm) > gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(_parameters(optimizer), gradient_clip_val, self._norm)

    def configure_optimizers(self) -> Any:
        optimizer = self._make_optimizer(p for p in self.model.parameters() if p.requires_grad)
        if self.device.type == "cpu":
            update_at_once(optimizer)
        scheduler = self._make_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # validation

    def on_validation_epoch_start(self) -> None:
        if self.validator is not None:
            self.validator.start(self.model, self.card, device=self.device)

    def validation_step(self, item: Any, batch_index: int) -> Any:
        """One item's result, for callbacks that want to see it; None without an item (a process without videos)."""
        return None if self.validator is None or item is None else self.validator.step(item)

    def on_validation_epoch_end(self) -> None:
        if self.validator is None or self.trainer.sanity_checking:
            return
        metrics = self.validator.finish()
        self.log_dict({f"valid/{name}": value for name, value in metrics.items()})
        usual = self.validator.task.judged_by[0]
        self.log(usual, metrics[usual], prog_bar=True, logger=False)

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[ENTRY] = {**entry_of(self.card), "skipped_steps": self.skipped_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.skipped_steps = int(checkpoint.get(ENTRY, {}).get("skipped_steps", 0))


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    """What it updates; to look through all modules of a network takes longer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
