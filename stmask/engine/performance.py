"""How fast a run is and what it takes; such metrics differ between equal runs and have a file of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from stmask.engine.metrics_log import MetricsLog
from stmask.runs.folder import PERFORMANCE
from stmask.structures import Clip

_GIB = 2**30


class Performance(Callback):
    """Writes a row to performance.csv every `log_every_n_steps` steps, and tells some loggers the same.

    A row is about the steps since the row before. Time counts from when a batch is asked for to the end of its step;
    validation and the writing of checkpoints lie between steps. Samples (pairs, or images) and frames are those of all
    processes, which keep step with each other; waiting and memory are those of process 0, the only one that measures.
    A resumed run keeps the rows of the steps before it.

    Args:
        folder: of the run.
        loggers: to tell; metrics.csv, which equal runs write equally, is no place for these.
    """

    def __init__(self, folder: str | os.PathLike[str], loggers: Sequence[Logger] = ()) -> None:
        self._log = MetricsLog(Path(folder) / PERFORMANCE)
        self._loggers = tuple(loggers)
        self._reset()

    def _reset(self) -> None:
        self._steps = self._samples = self._frames = 0
        self._seconds = self._waited = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._log.keep(before=trainer.global_step)
            self._waited_before = _seconds_waited(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step_before, self._start = trainer.global_step, perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Clip, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        waited = _seconds_waited(trainer)
        self._seconds += perf_counter() - self._start + waited - self._waited_before
        self._waited += waited - self._waited_before
        self._waited_before = waited
        self._samples += len(batch) * trainer.world_size
        self._frames += batch.frames.shape[:2].numel() * trainer.world_size
        step = trainer.global_step
        if step == self._step_before:  # gradients are still being accumulated
            return
        self._steps += 1
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._write(trainer, step=step - 1)  # loggers count from 0
            self._reset()

    def _write(self, trainer: pl.Trainer, *, step: int) -> None:
        metrics = {
            "performance/step_seconds": self._seconds / self._steps,
            "performance/samples_per_second": self._samples / self._seconds,
            "performance/frames_per_second": self._frames / self._seconds,
            "performance/data_wait_share": self._waited / self._seconds,
            "performance/memory_gib": _memory() / _GIB,
        }
        device = trainer.strategy.root_device
        if device.type == "cuda":  # so much was in use at once so far
            metrics["performance/gpu_memory_gib"] = torch.cuda.max_memory_allocated(device) / _GIB
        for logger in (self._log, *self._loggers):
            logger.log_metrics(metrics, step=step)


def _seconds_waited(trainer: pl.Trainer) -> float:
    """0 throughout for a loader that does not count."""
    return float(getattr(trainer.train_dataloader, "seconds_waited", 0.0))


def _memory() -> float:
    """Bytes of main memory that this process holds; its peak where the system does not tell, NaN on Windows."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        try:
            import resource
        except ImportError:
            return float("nan")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
