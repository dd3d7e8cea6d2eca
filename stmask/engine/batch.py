"""How many pairs an optimiser step sees."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from stmask.errors import ConfigError


@dataclass(frozen=True)
class Batch:
    """The pairs of an optimiser step, and how they come together.

    Attributes:
        per_process: of one forward pass of one process.
        processes: of the run.
        accumulated: forward passes per optimiser step.
    """

    per_process: int
    processes: int
    accumulated: int

    @property
    def total(self) -> int:
        return self.per_process * self.processes * self.accumulated


def batch_of(cfg: DictConfig, *, processes: int) -> Batch:
    """The batch that `total_batch`, or without it `data.batch_size`, means for so many processes.

    Raises:
        ConfigError: total_batch cannot be shared equally.
    """
    accumulated = int(cfg.trainer.get("accumulate_grad_batches", 1))
    if cfg.total_batch is None:
        return Batch(cfg.data.batch_size, processes, accumulated)
    shares = processes * accumulated
    if cfg.total_batch < 1 or cfg.total_batch % shares:
        passes = f" and trainer.accumulate_grad_batches={accumulated}" if accumulated != 1 else ""
        raise ConfigError(
            f"total_batch={cfg.total_batch} cannot be shared equally by {processes} processes{passes}: give a multiple "
            f"of {shares}"
        )
    return Batch(cfg.total_batch // shares, processes, accumulated)
