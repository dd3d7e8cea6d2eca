"""The parts of a training, made from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.data import VISDataModule
from stmask.engine.callbacks import LoggedStep, ProgressBar
from stmask.engine.checkpoint import AtomicCheckpointIO, build_model, check_card
from stmask.engine.interruption import NoSignals
from stmask.engine.metrics_log import MetricsLog
from stmask.engine.module import VISModule
from stmask.engine.optimisation import scaled_learning_rate
from stmask.engine.performance import Performance
from stmask.engine.run_folder import RunFolder
from stmask.engine.validation import Validator
from stmask.errors import ConfigError
from stmask.files import atomic_open
from stmask.inference.card import ModelCard
from stmask.inference.settings import InferenceSettings
from stmask.loading import initialise

_log = logging.getLogger(__name__)


def build_trainer(cfg: DictConfig, folder: RunFolder, *, callbacks: Sequence[Callback], log: MetricsLog) -> pl.Trainer:
    """Lightning's trainer, with what every run has besides the given callbacks and metrics.csv.

    Raises:
        ConfigError: (through `stmask.config.explain`) devices that are not there, values that contradict each other.
    """
    loggers: list[Logger] = [log]
    if cfg.logger is not None and "_target_" in cfg.logger:
        loggers.append(instantiate(cfg.logger, _convert_="all"))
    performance = Performance(folder.path, loggers[1:])
    callbacks = [LoggedStep(), LearningRateMonitor("step"), performance, *callbacks]
    if cfg.records is not None and "_target_" in cfg.records:
        callbacks.append(instantiate(cfg.records, _convert_="all"))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(ProgressBar())
    _check_gpus(cfg.trainer)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(folder.path),
        use_distributed_sampler=False,
        enable_model_summary=False,
        benchmark=None if cfg.deterministic else cfg.trainer.get("benchmark"),  # it chooses kernels by their speed
        _convert_="all",
    )
    trainer._signal_connector = NoSignals(trainer)
    return trainer


def _check_gpus(trainer: DictConfig) -> None:
    """In words that name the way out; what Lightning finds besides, it says itself."""
    if trainer.accelerator not in ("gpu", "cuda"):
        return
    there, wanted = torch.cuda.device_count(), trainer.devices
    if not there:
        raise ConfigError(f"trainer.accelerator={trainer.accelerator}: this machine has no GPU; give trainer=cpu")
    if isinstance(wanted, int) and wanted > there:
        raise ConfigError(f"trainer.devices={wanted}: this machine has {there} GPU{'s' * (there > 1)}; give fewer")


def build_module(cfg: DictConfig, data: VISDataModule, validator: Validator | None, *, batch: int) -> VISModule:
    """The network with its losses, and what optimises it.

    Args:
        data: set up.
        batch: samples of an optimiser step, all processes together.
    """
    num_classes = len(data.class_names)
    model_config = _plain(cfg.model)
    card = ModelCard(
        model={**model_config, "num_classes": num_classes},
        class_names=data.class_names,
        preprocessor=data.preprocessor,
        inference=InferenceSettings.from_dict(_plain(cfg.inference)).to_dict(),
        data=_plain(cfg.data),
        origin=f"run {cfg.name}",
    )
    check_card(card)
    lr = scaled_learning_rate(
        cfg.optimizer.lr, frames_per_batch=data.clip_length * batch, reference_batch=cfg.reference_batch
    )
    return VISModule(
        build_model(model_config, num_classes=num_classes),
        instantiate(cfg.loss, _convert_="all"),
        optimizer=partial(instantiate(cfg.optimizer, _convert_="all"), lr=lr),
        scheduler=instantiate(cfg.scheduler, _convert_="all"),
        card=card,
        validator=validator,
        max_skipped_in_a_row=cfg.max_skipped_in_a_row,
        seed=cfg.seed,
    )


def start_from(module: VISModule, path: str, *, report: Path) -> None:
    """Takes whatever fits of a file of weights: ours, the STMask authors' or YOLACT's. The rest stays fresh.

    Args:
        module: its network is filled.
        path: the file.
        report: a text file to write, with which tensors were taken and which not, and why.

    Raises:
        CheckpointError: it is no such file, or nothing in it fits.
    """
    outcome = initialise(module.model, path)

    @rank_zero_only
    def tell() -> None:
        with atomic_open(report) as handle:
            handle.write(f"{path}\n{outcome}\n")
        _log.info("%s: %s; see %s", path, outcome.summary(), report)

    tell()


def check_monitor(monitor: str, validator: Validator) -> None:
    """Refused now and not after the first validation; all of these are the better the higher."""
    choices = [f"valid/{name}" for name in validator.figures]
    if monitor not in choices:
        raise ConfigError(f"monitor must be one of {', '.join(choices)}, got {monitor!r}")


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
