"""What a run can't do is refused, by key, before it is described in its folder and before a process is started."""

from __future__ import annotations

import logging
import os

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from stmask.config_schemas import LIST_GROUPS, OPTIONAL_GROUPS, groups
from stmask.engine.processes import STARTERS
from stmask.errors import ConfigError
from stmask.signatures import TARGET

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
_PRECISIONS = ("32-true", "32", "16-mixed", "16", "bf16-mixed", "bf16")  # weights stay float32
_PROCESSES_PER_CORE = 4
_SOME_PROCESSES = 8  # that any machine is trusted with
_PROCESSES_WITHIN = ("spawn", "fork", "notebook")  # whose results and checkpoints never reach the one that asked
_log = logging.getLogger(__name__)
_warn = rank_zero_only(_log.warning)


def check_groups(cfg: DictConfig) -> None:
    """Refuses a run without a network, data, an optimiser, ..

    Raises:
        ConfigError: the group that has no option.
    """
    for name in groups("train"):
        if name in LIST_GROUPS:
            continue  # see stmask.config_check.check_list_groups
        option = cfg.get(name) or {}
        if option.get(TARGET) is not None:
            continue
        if option:
            raise ConfigError(f"{name}.{next(iter(option))} needs an option of the group {name}: give {name}=OPTION")
        if name not in OPTIONAL_GROUPS:
            instead = "; scheduler=constant leaves the learning rate as it is" if name == "scheduler" else ""
            raise ConfigError(f"a run needs an option of the group {name}: give {name}=OPTION{instead}")


def check_trainer(trainer: DictConfig) -> None:
    """Refuses what Lightning would take, or refuse without the way out, on any machine; the rest it says itself.

    Raises:
        ConfigError: an accelerator, precision, interval or strategy that training has no use for.
    """
    accelerator = trainer.get("accelerator", "auto")
    if accelerator not in _ACCELERATORS:
        raise ConfigError(f"trainer.accelerator must be {', '.join(_ACCELERATORS)}, got {accelerator!r}")
    interval = trainer.get("val_check_interval")
    if interval is not None and not isinstance(interval, (int, float)):
        raise ConfigError(
            f"trainer.val_check_interval must be a number of steps (500) or a share of an epoch (0.5), got {interval!r}"
        )
    strategy = trainer.get("strategy", "auto")
    if any(word in str(strategy) for word in _PROCESSES_WITHIN):
        raise ConfigError(f"trainer.strategy={strategy} loses what its processes find out; give trainer.strategy=ddp")
    precision = trainer.get("precision")
    if precision is not None and str(precision) not in _PRECISIONS:
        raise ConfigError(f"trainer.precision must be 32-true, 16-mixed or bf16-mixed, got {precision!r}")


def check_machine(trainer: DictConfig) -> None:
    """Refuses what this machine lacks, where it is the one that trains.

    Raises:
        ConfigError: GPUs where there are none, far more processes than cores, or other machines that nothing names.
    """
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    nodes = trainer.get("num_nodes", 1)
    if nodes > 1 and not any(starter.detect() for starter in STARTERS) and "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"trainer.num_nodes={nodes}: nothing says where the other machines are; start the command on each by "
            "torchrun or SLURM, or set MASTER_ADDR, MASTER_PORT and NODE_RANK"
        )
    gpus = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and not gpus:
        raise ConfigError(f"trainer.accelerator={accelerator}: this machine has no GPU; give trainer=cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(_SOME_PROCESSES, _PROCESSES_PER_CORE * cores)
    if (accelerator == "cpu" or not gpus) and isinstance(devices, int) and devices > most:
        raise ConfigError(
            f"trainer.devices={devices}: this machine has {cores} CPU core{'s' * (cores > 1)} for {devices} processes; "
            f"give at most {most}"
        )


def check_optimisation(cfg: DictConfig) -> None:
    """Tries optimiser and schedule on one parameter: their constructors know best what they can't work with.

    Raises:
        ConfigError: what they refuse, with its group.
    """
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = instantiate(cfg.optimizer, _convert_="all")
    scheduler = instantiate(cfg.scheduler, _convert_="all")
    group = "optimizer"
    try:
        made = optimizer([parameter])
        group = "scheduler"
        scheduler(made)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{group}: {error}") from error
    if cfg.optimizer.get("lr") == 0:
        _warn("optimizer.lr=0: the network stays as it is")


def check_intervals(cfg: DictConfig, trainer: pl.Trainer, *, batches: int, validated: int = 0) -> None:
    """Refuses intervals that do not fit into an epoch, and says which are odd.

    Args:
        cfg: the configuration.
        trainer: made of it.
        batches: of an epoch, for each process.
        validated: videos of a validation, for each process.

    Raises:
        ConfigError: a validation that would never come, or an epoch without a batch.
    """
    limit = trainer.limit_train_batches
    taken = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if taken < 1:
        raise ConfigError(f"trainer.limit_train_batches={limit}: there are {batches} batches in an epoch; give more")
    share = trainer.limit_val_batches
    if validated and isinstance(share, float) and share > 0 and int(validated * share) < 1:
        raise ConfigError(f"trainer.limit_val_batches={share}: there are {validated} videos to validate; give more")
    interval = trainer.val_check_interval
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None:
        if interval > taken:
            raise ConfigError(
                f"trainer.val_check_interval={interval} is longer than an epoch, which has {taken} batches; "
                "trainer.check_val_every_n_epoch=null counts over epochs"
            )
        if interval == 1 < taken:
            _warn("trainer.val_check_interval=1 validates after every step; 1.0 is once in an epoch")
    steps = trainer.max_steps
    if steps < 0 and (trainer.max_epochs or -1) > 0:
        steps = int(trainer.max_epochs or 0) * -(-taken // trainer.accumulate_grad_batches)
    warmup = cfg.scheduler.get("warmup_steps")
    if isinstance(warmup, int) and 0 < steps <= warmup:
        _warn(f"scheduler.warmup_steps={warmup}: this run has {steps} steps and never comes to optimizer.lr")
