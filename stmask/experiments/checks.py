"""What cannot work is refused before the first job of a sweep starts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from stmask.errors import ConfigError
from stmask.experiments.jobs import Job

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_UNFOLLOWED = re.compile("spawn|fork|notebook")


def check_jobs(jobs: Sequence[Job], *, launcher: str) -> None:
    """Refuses jobs that no process of this machine can train.

    Args:
        jobs: of one sweep.
        launcher: its name on the command line.

    Raises:
        ConfigError: a strategy that a sweep cannot follow, several machines, or a GPU that is not there.
    """
    for job in jobs:
        trainer = job.cfg.trainer
        strategy = str(trainer.get("strategy"))
        if _UNFOLLOWED.search(strategy):
            raise ConfigError(
                f"{job.title}: trainer.strategy={strategy} trains in processes that a sweep cannot resume or stop; "
                "give trainer.strategy=ddp"
            )
        if trainer.get("num_nodes", 1) != 1:
            raise ConfigError(
                f"{job.title}: trainer.num_nodes={trainer.num_nodes}, but hydra/launcher={launcher} starts processes "
                "on this machine only; several machines need hydra/launcher=slurm"
            )
        if trainer.get("accelerator") in ("gpu", "cuda"):
            here, devices = len(visible_gpus()), trainer.get("devices", 1)
            named = [] if isinstance(devices, (int, str)) else [int(number) for number in devices]
            if here == 0 or (isinstance(devices, int) and devices > here):
                raise ConfigError(
                    f"{job.title}: trainer.accelerator={trainer.accelerator} trainer.devices={devices}, but this "
                    f"machine has {here} GPUs"
                )
            if missing := [number for number in named if number >= here]:
                raise ConfigError(f"{job.title}: trainer.devices names GPU {missing[0]}; this machine has {here} GPUs")


def check_queue(jobs: Sequence[Job], *, devices: Sequence[int] | None) -> list[str]:
    """The devices of a queue, as CUDA_VISIBLE_DEVICES names them.

    Args:
        jobs: that wait for them.
        devices: numbers among the GPUs that this process sees; None for all of them. Without a GPU in use they only
            say how many jobs run at a time.

    Raises:
        ConfigError: no or unknown devices, or a job that needs another number than the queue can give.
    """
    gpus = [] if all(job.on_cpu for job in jobs) else visible_gpus()
    if devices is None and not gpus:
        raise ConfigError(
            "hydra/launcher=gpus finds no GPU to use; hydra/launcher=in_turn trains without, or name places for jobs "
            "on the CPU by hydra.launcher.devices=[0,1]"
        )
    if devices is not None and (len(set(devices)) != len(devices) or not devices):
        raise ConfigError(f"hydra.launcher.devices={list(devices)} must name each device once")
    if gpus and (missing := [number for number in devices or () if not 0 <= number < len(gpus)]):
        raise ConfigError(f"hydra.launcher.devices names GPU {missing[0]}; there are: 0 to {len(gpus) - 1}")
    names = [gpus[number] if gpus else str(number) for number in (range(len(gpus)) if devices is None else devices)]
    for job in jobs:
        wanted = job.cfg.trainer.get("devices", 1)
        if not isinstance(wanted, int) or wanted < 1:
            raise ConfigError(
                f"{job.title}: trainer.devices={wanted}, but hydra/launcher=gpus assigns devices; give their number"
            )
        if wanted > len(names):
            raise ConfigError(
                f"{job.title}: trainer.devices={wanted}, but hydra/launcher=gpus has {len(names)} to give"
            )
    return names


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get(_VISIBLE)
    return (given.split(",") if given else [str(number) for number in range(count)])[:count]
