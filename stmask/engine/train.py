"""One training run from its configuration: build, fit, keep what is needed to repeat and to use it."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.data import VISDataModule
from stmask.engine.callbacks import LoggedStep
from stmask.engine.checkpoint import (
    AtomicCheckpointIO,
    build_model,
    card_of,
    check_weights,
    network_weights,
    read_file,
)
from stmask.engine.module import VISModule
from stmask.engine.optimisation import scaled_learning_rate
from stmask.engine.performance import Performance
from stmask.engine.run_folder import Origin, RunFolder
from stmask.engine.validation import Validator, validator_for
from stmask.errors import CheckpointError, ConfigError
from stmask.files import atomic_open, write_json
from stmask.inference.card import ModelCard
from stmask.inference.settings import InferenceSettings
from stmask.loading import initialise

CHECKPOINT_FOLDER = "checkpoints"
_LAST = "last.ckpt"
_log = logging.getLogger(__name__)


def train(cfg: DictConfig, *, origin: Origin = Origin()) -> dict[str, float]:
    """Trains as `conf/train.yaml` says, into the folder `cfg.output_dir`.

    Writes config.yaml (resolved), status.json, metrics.csv, checkpoints/{best,last}.ckpt and summary.json.

    Args:
        cfg: checked, see `stmask.config.compose`.
        origin: what the run was asked for with.

    Returns:
        The logged figures of the best validation (those of the last step where nothing was validated), and
        "train_seconds".

    Raises:
        StmaskError: whatever the user can mend.
    """
    folder = RunFolder(cfg.output_dir)
    with folder.held():
        return _train(cfg, folder, origin)


def _train(cfg: DictConfig, folder: RunFolder, origin: Origin) -> dict[str, float]:
    output = folder.path
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data: VISDataModule = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    validator = validator_for(data)
    if validator is not None:
        _check_monitor(cfg.monitor, validator)
    module = _build_module(cfg, data, validator)
    if cfg.init_from is not None:
        start_from(module, cfg.init_from, report=output / "init_from.txt")
    resume = _resume_path(cfg.resume, output)
    resumed_step = None if resume is None else _check_resumed(module, resume)
    with atomic_open(output / "config.yaml") as handle:
        handle.write(OmegaConf.to_yaml(cfg, resolve=True))
    best, last = _checkpoints(output / CHECKPOINT_FOLDER, monitor=cfg.monitor)
    callbacks = [best, last] if data.valid_split is not None else [last]
    trainer = _build_trainer(cfg, output, callbacks=callbacks, resumed_step=resumed_step)
    start = time.perf_counter()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    finally:
        _finish_loggers(trainer)
    figures = _best_figures(best, trainer, cfg.monitor) | {"train_seconds": time.perf_counter() - start}
    if trainer.is_global_zero:
        write_json(output / "summary.json", figures, indent=1)
    return figures


def _check_monitor(monitor: str, validator: Validator) -> None:
    """Refused now and not after the first validation; all of these are the better the higher."""
    choices = [f"valid/{name}" for name in validator.figures]
    if monitor not in choices:
        raise ConfigError(f"monitor must be one of {', '.join(choices)}, got {monitor!r}")


def _checkpoints(folder: Path, *, monitor: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """best.ckpt after a validation that is better than all before, last.ckpt after every epoch."""
    common: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor=monitor, mode="max", save_on_train_epoch_end=False, **common)
    last = ModelCheckpoint(filename=Path(_LAST).stem, save_on_train_epoch_end=True, **common)
    return best, last


def _build_module(cfg: DictConfig, data: VISDataModule, validator: Validator | None) -> VISModule:
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
    lr = scaled_learning_rate(
        cfg.optimizer.lr,
        frames_per_batch=data.clip_length * data.batch_size * _processes(cfg.trainer),
        reference_batch=cfg.reference_batch,
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


def _build_trainer(
    cfg: DictConfig, output: Path, *, callbacks: Sequence[Callback], resumed_step: int | None
) -> pl.Trainer:
    callbacks = [LoggedStep(), LearningRateMonitor("step"), Performance(output), *callbacks]
    if cfg.records is not None and "_target_" in cfg.records:
        callbacks.append(instantiate(cfg.records, _convert_="all"))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(RichProgressBar())
    loggers: list[Logger] = [csv_logger(output, resumed_step=resumed_step)]
    if cfg.logger is not None and "_target_" in cfg.logger:
        loggers.append(instantiate(cfg.logger, _convert_="all"))
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(output),
        use_distributed_sampler=False,
        enable_model_summary=False,
        _convert_="all",
    )
    return trainer


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


def csv_logger(output: Path, *, resumed_step: int | None) -> CSVLogger:
    """Logs to metrics.csv. A resumed run keeps the rows up to the step it goes on from."""
    file = output / "metrics.csv"
    rows: list[dict[str, str]] = []
    if resumed_step is not None and file.exists():
        with file.open(newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if int(row["step"]) < resumed_step]
    logger = CSVLogger(output, name="", version="")
    if getattr(rank_zero_only, "rank", 0) == 0:
        file.unlink(missing_ok=True)
        logger.experiment.metrics = [{name: value for name, value in row.items() if value != ""} for row in rows]
        logger.save()
    return logger


def _check_resumed(module: VISModule, checkpoint: str) -> int:
    """The step that a checkpoint goes on from.

    Raises:
        CheckpointError: it is no training's, or another network's.
    """
    content = read_file(checkpoint)
    card_of(content, source=checkpoint)
    check_weights(module.model, network_weights(content), source=checkpoint)
    if "optimizer_states" not in content:
        raise CheckpointError(f"{checkpoint} holds weights only, no training to go on with: give it as init_from")
    return int(content.get("global_step", 0))


def _resume_path(resume: str | None, output: Path) -> str | None:
    if resume is None:
        return None
    if resume == "auto":
        last = output / CHECKPOINT_FOLDER / _LAST
        return str(last) if last.exists() else None
    if not Path(resume).is_file():
        raise CheckpointError(f"no such checkpoint to resume from: {resume}")
    return resume


def _best_figures(best: ModelCheckpoint, trainer: pl.Trainer, monitor: str) -> dict[str, float]:
    figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("valid/")}
    if best.best_model_score is not None:
        figures[monitor] = float(best.best_model_score)
    return figures


def _finish_loggers(trainer: pl.Trainer) -> None:
    """Ends a W&B run, with its exit code: without this, the next run of a sweep would log into it."""
    for logger in trainer.loggers:
        if type(logger).__name__ == "WandbLogger" and trainer.is_global_zero:
            import wandb

            wandb.finish(exit_code=1 if trainer.interrupted else 0)


def _processes(trainer: DictConfig) -> int:
    devices = trainer.get("devices", 1)
    if isinstance(devices, int) and devices > 0:
        return devices * int(trainer.get("num_nodes", 1))
    world = os.environ.get("WORLD_SIZE")
    if world is not None:
        return int(world)
    raise ConfigError(
        f"trainer.devices={devices} leaves the batch of all processes open, and with it the learning rate: give a "
        "number of devices, or reference_batch=null"
    )


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
