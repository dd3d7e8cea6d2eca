"""Hydra's launchers in_turn, gpus and slurm. Hydra imports this module at each start, so it imports little itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig, ListConfig


class InTurn(Launcher):
    """One job after the other on this machine, each with all its devices, its output on the terminal.

    Args:
        torchrun: start the processes of a distributed job by torchrun, and not by itself.
    """

    def __init__(self, *, torchrun: bool = False) -> None:
        self._given: dict[str, Any] = {"torchrun": torchrun}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra; the task function is left alone, because jobs are processes."""
        self._given.update(context=hydra_context, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See `stmask.experiments.launcher.launch`."""
        from stmask.experiments.launcher import launch

        return launch(job_overrides, **self._given)


class Gpus(InTurn):
    """As many jobs at a time as there is room for on the GPUs; each has trainer.devices. Output goes to job.log.

    Args:
        devices: numbers of the GPUs to use; None for all that are visible.
        jobs_per_device: how many share one.
        torchrun: as of `InTurn`.
    """

    def __init__(
        self, *, devices: ListConfig | Sequence[int] | None = None, jobs_per_device: int = 1, torchrun: bool = False
    ) -> None:
        super().__init__(torchrun=torchrun)
        devices = None if devices is None else list(devices)
        self._given.update(on_gpus=True, devices=devices, jobs_per_device=jobs_per_device)


class Slurm(InTurn):
    """Each job of a sweep is a job of SLURM, sent by submitit.

    Args:
        settings: of hydra-submitit-launcher for SLURM, which are those of sbatch.
    """

    def __init__(self, **settings: Any) -> None:
        self._given: dict[str, Any] = {"settings": settings}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See `stmask.experiments.launcher.launch_on_slurm`."""
        from stmask.experiments.launcher import launch_on_slurm

        return launch_on_slurm(job_overrides, **self._given)
