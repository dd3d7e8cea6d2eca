"""Refuses what cannot work before the first job of a sweep starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from stmask.errors import ConfigError
from stmask.experiments.jobs import Job
from stmask.signatures import shown

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_MIG = "MIG-"  # begins the name of a part of a GPU; a process of CUDA's uses one at most


def check_job(job: Job, *, launcher: str) -> None:
    """Refuses a job that no process of this machine can train.

    Args:
        job: of a sweep.
        launcher: its name on the command line.

    Raises:
        ConfigError: several machines, or a missing GPU.
    """
    trainer = job.cfg.trainer
    if trainer.get("num_nodes", 1) != 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}, but hydra/launcher={launcher} starts processes on this machine "
            "only; several machines need hydra/launcher=slurm"
        )
    if trainer.get("accelerator") in ("gpu", "cuda"):
        here, devices = len(visible_gpus()), trainer.get("devices", 1)
        named = [] if isinstance(devices, (int, str)) else [int(number) for number in devices]
        if here == 0 or (isinstance(devices, int) and devices > here):
            raise ConfigError(
                f"trainer.accelerator={trainer.accelerator} trainer.devices={devices}, but this machine has {here} GPUs"
            )
        if missing := [number for number in named if number >= here]:
            raise ConfigError(f"trainer.devices names GPU {missing[0]}; this machine has {here} GPUs")


def check_queue(jobs: Sequence[Job], *, devices: Sequence[int] | None, per_device: Any = 1) -> tuple[list[str], int]:
    """The devices of a queue, in the form of CUDA_VISIBLE_DEVICES, and how many processes each has at a time.

    Args:
        jobs: waiting for them.
        devices: numbers among the GPUs that this process sees; None for all of them. Without GPUs they are so many
            shares of the CPU.
        per_device: jobs that share a device.

    Raises:
        ConfigError: no or unknown devices, a number of jobs that is not one, or a job that needs more than the queue
            can give.
    """
    if type(per_device) is not int or per_device < 1:
        raise ConfigError(f"hydra.launcher.jobs_per_device must be a whole number from 1 on, got {shown(per_device)}")
    gpus = [] if all(job.on_cpu for job in jobs) else visible_gpus()
    if devices is None and not gpus and per_device == 1:
        raise ConfigError(
            "hydra/launcher=gpus finds no GPU to use; hydra/launcher=in_turn trains without one, and "
            "hydra.launcher.jobs_per_device=2 trains two jobs at a time on the CPU"
        )
    if unknown := [number for number in devices or () if type(number) is not int]:
        raise ConfigError(
            f"hydra.launcher.devices names {shown(unknown[0])}: give numbers, as nvidia-smi has them; "
            f"{_VISIBLE} takes the names of GPUs and of their parts (MIG)"
        )
    if devices is not None and (len(set(devices)) != len(devices) or not devices):
        raise ConfigError(f"hydra.launcher.devices={list(devices)} must name each device once")
    if gpus and (missing := [number for number in devices or () if not 0 <= number < len(gpus)]):
        raise ConfigError(f"hydra.launcher.devices names GPU {missing[0]}; there are: 0 to {len(gpus) - 1}")
    if gpus:
        names = gpus if devices is None else [gpus[number] for number in devices]
    else:  # a process has one share of the CPU, and several processes of a job need not keep apart
        names, per_device = [str(share) for share in range(len(devices or [0]) * per_device)], 1
    _check_devices_of(jobs, names)
    return names, per_device


def _check_devices_of(jobs: Sequence[Job], names: Sequence[str]) -> None:
    for job in jobs:
        wanted = job.cfg.trainer.get("devices", 1)
        if not isinstance(wanted, int) or wanted < 1:
            raise ConfigError(
                f"{job.title}: trainer.devices={wanted}, but hydra/launcher=gpus assigns the devices; give their number"
            )
        if wanted > len(names):
            raise ConfigError(f"{job.title}: trainer.devices={wanted}, but hydra/launcher=gpus has only {len(names)}")
        if wanted > 1 and any(name.startswith(_MIG) for name in names):
            raise ConfigError(
                f"{job.title}: trainer.devices={wanted}, but a run can use one part of a GPU (MIG); give "
                "trainer.devices=1"
            )


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, or that it may give to others, in the form of CUDA_VISIBLE_DEVICES.

    Those are numbers, or names: `GPU-<uuid>`, and `MIG-<uuid>` for a part of one.
    """
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get(_VISIBLE)
    if given is None:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in given.split(",")]
    if count and all(name.startswith(_MIG) for name in names):
        return names  # this process counts its own one only
    return names[:count]
