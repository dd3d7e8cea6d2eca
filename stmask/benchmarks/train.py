"""Steps of a training run, as `stmask train` makes them: Lightning's loop with all that a run has besides.

Validation and checkpoints lie between steps and are left out; so are the first steps. What a step's stages are is seen
from Lightning's hooks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from stmask.benchmarks import flops
from stmask.benchmarks.gauge import Clock, TorchGauge
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work
from stmask.errors import ConfigError

_WARM_UP_STEPS, _WARM_UP_SECONDS = 5, 10.0
_ENOUGH = 1_000_000  # samples in an epoch: none ends between two steps
_PASSES = 3  # a step reads the weights, writes their gradients and writes the weights
_PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}


class Contender:
    """A configuration.

    Args:
        overrides: of `stmask train`, KEY=VALUE or GROUP=OPTION.
        data: root of the videos to train on; None for what the configuration says.
        yardstick: also time a bare ResNet-50.
        trust: the user's own classes that a checkpoint may name.
    """

    unit = "step"
    stages: Mapping[str, str] = {
        "data and loop": "from one step to the next: waiting for the batch, logging, Lightning's loop",
        "forward": "the network's forward pass",
        "losses": "the rest of the training step: matching, losses, and branches computed only at the positives",
        "backward": "the backward pass",
        "optimiser": "the gradient's norm and clipping, the update, the learning rate, callbacks",
    }

    def __init__(
        self, *, overrides: Sequence[str], data: str | None, yardstick: bool = False, trust: Sequence[str] = ()
    ) -> None:
        from stmask.config import compose

        self._folder = tempfile.TemporaryDirectory()
        fixed = ["data.valid=null", f"data.samples_per_epoch={_ENOUGH}", "trainer.max_epochs=-1", "logger=csv",
                 "records=none", "checkpoint_every=null", "trainer.enable_progress_bar=false",
                 f"output_dir={self._folder.name}/run"]  # fmt: skip
        fixed += [f"data.root={data}"] if data is not None else []
        fixed += [f"trust=[{','.join(trust)}]"] if trust else []
        self._cfg = compose("train", [*overrides, *fixed])
        self._yardstick = yardstick

    def serve(self, turns: Turns) -> Outcome:
        """Trains, and leaves the run when there are no more turns."""
        from omegaconf import open_dict

        from stmask.engine.train import train

        global _timer
        _timer = _StepTimer(turns, yardstick=self._yardstick)
        with open_dict(self._cfg):  # a callback of the run, which is how the run's records get into it
            self._cfg.records = {"_target_": f"{__name__}.timer"}
        try:
            train(self._cfg)
        except _NoMoreTurns:
            return _timer.outcome()
        finally:
            self._folder.cleanup()
        raise ConfigError("the run ended before all of its steps were timed: raise trainer.max_steps")


def timer() -> Callback:
    """The callback of this process."""
    assert _timer is not None
    return _timer


class _NoMoreTurns(BaseException):
    """Leaves a run, through everything that makes up for errors."""


class _StepTimer(Callback):
    def __init__(self, turns: Turns, *, yardstick: bool) -> None:
        self._turns, self._yardstick = turns, yardstick
        self._begun = time.perf_counter()
        self._steps = self._left = 0
        self._samples: list[Sample] = []
        self._flops = self._bytes = 0.0
        self._marks: dict[str, Any] = {}
        self._details: dict[str, float] = {}
        self._counter, self._counted = flops.counter(), ExitStack()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._clock = Clock(module.device)
        model: Any = module.model
        model.register_forward_pre_hook(lambda *_: self._mark("forward"))
        model.register_forward_hook(lambda *_: self._mark("forwarded"))
        self._end = self._clock.now()
        self._mark("before")

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        self._mark("start")
        if self._steps == 0:
            self._counted.enter_context(self._counter)

    def on_before_zero_grad(self, *_: Any) -> None:
        self._mark("losses")

    def on_before_backward(self, *_: Any) -> None:
        self._mark("backward")

    def on_after_backward(self, *_: Any) -> None:
        self._mark("backwarded")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._mark("end")
        begun, self._end = self._end, self._clock.now()
        sample = Sample(1000 * (self._end - begun), self._stages())
        self._steps += 1
        if self._left > 0:
            self._samples.append(sample)
            self._left -= 1
            if self._left == 0:
                self._turns.give(self._samples)
                self._samples = []
                self._await()
        elif self._steps == 1:
            self._counted.close()
            parameters = sum(p.nbytes for p in module.parameters() if p.requires_grad)
            self._flops = float(self._counter.get_total_flops())
            self._bytes = float(_PASSES * parameters + batch.frames.nbytes)
            shape = batch.frames.shape
            self._details = {"clips": shape[0], "frames of a clip": shape[1], "height": shape[3], "width": shape[4]}
        elif self._steps >= _WARM_UP_STEPS or (self._steps > 1 and self._end - self._begun > _WARM_UP_SECONDS):
            precision = _PRECISIONS.get(str(trainer.precision), "float32")
            gauge = TorchGauge(module.device, precision=precision, yardstick=self._yardstick)
            self._turns.ready(gauge, seconds=sample.milliseconds / 1000)
            self._counts = iter(self._turns)
            self._await()
        self._end = self._clock.now()
        self._mark("before")

    def outcome(self) -> Outcome:
        return Outcome(Work(self._flops, self._bytes), self._details)

    def _await(self) -> None:
        self._left = next(self._counts, 0)
        if not self._left:
            raise _NoMoreTurns

    def _mark(self, name: str) -> None:
        self._marks[name] = self._clock.mark()

    def _stages(self) -> dict[str, float]:
        def between(before: str, after: str) -> float:
            return self._clock.milliseconds(self._marks[before], self._marks[after])

        forward, backward = between("forward", "forwarded"), between("backward", "backwarded")
        return {
            "data and loop": between("before", "start"),
            "forward": forward,
            "losses": between("start", "losses") - forward,
            "backward": backward,
            "optimiser": between("losses", "end") - backward,
        }


_timer: _StepTimer | None = None
