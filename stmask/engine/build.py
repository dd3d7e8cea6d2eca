"""The parts of a training run, made from its configuration."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.checkpoint_path import checkpoint_path, require_file
from stmask.checkpoints import ModelCard, build_model, skeleton, trust
from stmask.checkpoints.construct import names_in
from stmask.checkpoints.format import check_card
from stmask.config import plain
from stmask.data import DataModule
from stmask.engine.checkpoint_callbacks import AtomicCheckpointIO, TimeLimit
from stmask.engine.lightning_private import LoggedStep, ProgressBar, StepListener, leave_signals_alone, listen, set_rank
from stmask.engine.metrics_log import MetricsLog
from stmask.engine.module import VISModule
from stmask.engine.optimisation import scaled_learning_rate
from stmask.engine.performance import Performance
from stmask.engine.preflight import check_groups, check_machine, check_optimisation, check_trainer
from stmask.engine.progress import TrainingLines
from stmask.engine.validation import Validator
from stmask.errors import ConfigError
from stmask.files import atomic_open
from stmask.loading import initialise
from stmask.runs.folder import RunFolder

_Part = TypeVar("_Part", Logger, Callback)
_log = logging.getLogger(__name__)


def check_run(cfg: DictConfig) -> None:
    """Refuses what its configuration alone shows that a run can't be, before a file is opened or a process started.

    Raises:
        ConfigError: a group without an option, or values that contradict each other or that a constructor refuses.
    """
    check_groups(cfg)
    check_optimisation(cfg)
    check_trainer(cfg.trainer)
    _options(cfg, "logger", kind=Logger)  # none begins anything yet
    trust([*(cfg.get("trust") or ()), *names_in(plain(cfg.model))])  # the user's own words
    check_model(cfg.model, instantiate(cfg.data, batch_size=1, _convert_="all"))
    if cfg.init_from is None and not cfg.trainer.get("fast_dev_run"):
        refuse_frozen_random_norms(cfg.model)


def check_files(cfg: DictConfig) -> None:
    """Refuses a run whose data, or whose weights to start from, are not on this machine; opens none of them.

    Raises:
        DataError, CheckpointError, ConfigError: what is missing, or can't be what it is given for.
    """
    data: DataModule = instantiate(cfg.data, batch_size=1, _convert_="all")
    data.require_files()
    if cfg.init_from is not None:
        require_file(cfg.init_from, purpose="init_from")


def build_trainer(
    cfg: DictConfig, folder: RunFolder, *, callbacks: Sequence[Callback], log: MetricsLog, listener: StepListener
) -> pl.Trainer:
    """Lightning's trainer, with what every run has besides the given callbacks and metrics.csv.

    Args:
        cfg: the configuration.
        folder: of the run.
        callbacks: of the run.
        log: its metrics.csv.
        listener: called between steps.

    Raises:
        ConfigError: (through `stmask.config.explain`) devices that are not there, values that contradict each other.
    """
    check_machine(cfg.trainer)
    loggers = [log, *_options(cfg, "logger", kind=Logger)]
    performance = Performance(folder.path, loggers[1:])
    own = _options(cfg, "callbacks", kind=Callback)
    callbacks = [LoggedStep(), LearningRateMonitor("step"), performance, *own, *callbacks]
    if cfg.ema is not None and "_target_" in cfg.ema:
        callbacks.append(instantiate(cfg.ema, _convert_="all"))
    if cfg.records is not None and "_target_" in cfg.records:
        callbacks.append(instantiate(cfg.records, _convert_="all"))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(ProgressBar())
        if not sys.stdout.isatty():  # where the bar would be drawn
            callbacks.append(TrainingLines())
    if cfg.trainer.get("max_time") is not None:
        callbacks.append(TimeLimit(plain(cfg.trainer)["max_time"]))
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        max_time=None,  # `TimeLimit` is for it
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(folder.path),
        use_distributed_sampler=False,
        enable_model_summary=False,
        benchmark=None if cfg.deterministic else cfg.trainer.get("benchmark"),  # it chooses kernels by their speed
        _convert_="all",
    )
    leave_signals_alone(trainer)
    set_rank(trainer)
    listen(trainer, listener)
    return trainer


def _options(cfg: DictConfig, group: str, *, kind: Callable[..., _Part]) -> list[_Part]:
    """What the options of a group build of which a run may have several.

    Raises:
        ConfigError: one builds something else.
    """
    built: list[_Part] = []
    for name, node in (cfg.get(group) or {}).items():
        part = instantiate(node, _convert_="all")
        if not isinstance(part, cast(type[_Part], kind)):
            found = f"{type(part).__module__}.{type(part).__name__}"
            raise ConfigError(f"{group}.{name} builds a {found}, not a {kind.__name__} of Lightning's")
        built.append(part)
    return built


def batch_size_of(cfg: DictConfig, *, processes: int) -> int:
    """Samples of one forward pass of one process: `total_batch` in equal shares, or without it `data.batch_size`.

    Raises:
        ConfigError: total_batch cannot be shared equally.
    """
    if cfg.total_batch is None:
        return int(cfg.data.batch_size)
    accumulated = int(cfg.trainer.get("accumulate_grad_batches", 1))
    shares = processes * accumulated
    if cfg.total_batch % shares:
        passes = f" and trainer.accumulate_grad_batches={accumulated}" if accumulated != 1 else ""
        raise ConfigError(
            f"total_batch={cfg.total_batch} cannot be shared equally by {processes} processes{passes}: give a multiple "
            f"of {shares}"
        )
    return int(cfg.total_batch // shares)


def build_module(cfg: DictConfig, data: DataModule, validator: Validator | None, *, batch: int) -> VISModule:
    """The model and what optimises it.

    Args:
        data: set up.
        batch: samples of an optimiser step, all processes together.
    """
    num_classes = len(data.class_names)
    model_config = plain(cfg.model)
    card = ModelCard(
        model={**model_config, "num_classes": num_classes},
        class_names=data.class_names,
        preprocessor=data.sampling.preprocessor,
        data=plain(cfg.data),
        origin=f"run {cfg.name}",
    )
    check_card(card)
    lr = scaled_learning_rate(
        cfg.optimizer.lr, frames_per_batch=data.clips.length * batch, reference_batch=cfg.reference_batch
    )
    return VISModule(
        build_model(model_config, num_classes=num_classes),
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
        path: the file, or a word for one; see `stmask.checkpoint_path`.
        report: a text file to write, with which tensors were taken and which not, and why.

    Raises:
        CheckpointError: it is not such a file, or too little in it fits.
        ConfigError: it has no backbone, see `refuse_frozen_random_norms`.
    """
    source = checkpoint_path(path, purpose="init_from")
    card = module.card
    outcome = initialise(module.model, source, class_names=card.class_names, preprocessor=card.preprocessor)
    if not outcome.has_backbone:
        refuse_frozen_random_norms(module.card.model, found=f"none in {source}")

    @rank_zero_only
    def tell() -> None:
        with atomic_open(report) as handle:
            handle.write(f"{source}\n{outcome}\n")
        level = logging.WARNING if outcome.mostly_fresh or outcome.other else logging.INFO
        most = "most of the network stays random: " if outcome.mostly_fresh else ""
        _log.log(level, "%s: %s%s; see %s", source, most, outcome.summary(), report)

    tell()


def refuse_frozen_random_norms(model: Mapping[str, Any], *, found: str = "none") -> None:
    """Frozen batch norms keep the statistics of the weights that a run starts from; over random weights they learn
    nothing and hold back the rest.

    Args:
        model: the configuration of the network.
        found: which weights the run starts from besides, in words.

    Raises:
        ConfigError: the backbone's norms are frozen, and it has no weights of its own.
    """
    backbone = model.get("backbone")
    if isinstance(backbone, Mapping) and backbone.get("frozen_norm") and backbone.get("weights") is None:
        raise ConfigError(
            "model.backbone.frozen_norm=true keeps the batch norms of the weights that a run starts from, and "
            f"there are {found}: give init_from=FILE or model.backbone.weights=imagenet, or begin from random weights "
            "with model.backbone.frozen_norm=false or model/backbone=r18 (on a CPU: experiment=demo)"
        )


def check_model(config: DictConfig, data: DataModule) -> None:
    """Refused before files are opened: what can't be built, and clips that are too short for its losses.

    Raises:
        ConfigError: as `build_model`; or a model that learns from frames in a row, and single images.
    """
    wanted = skeleton(plain(config), num_classes=1).clip_length
    if data.clips.length < wanted:
        raise ConfigError(
            f"this model learns from {wanted} frames in a row, and this data is of single images: choose other data, "
            "or for STMask model/temporal=none (experiment=coco/... has the rest that image networks need)"
        )


def check_monitor(monitor: str, validator: Validator) -> None:
    """Refused now and not after the first validation; all of these are the better the higher."""
    choices = [f"valid/{name}" for name in validator.task.judged_by]
    if monitor not in choices:
        raise ConfigError(f"monitor must be one of {', '.join(choices)}, got {monitor!r}")
