"""One training run from its configuration: build, fit, keep what is needed to repeat and to use it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from stmask.data import VISDataModule
from stmask.engine import loops
from stmask.engine.batch import batch_of
from stmask.engine.build import build_module, build_trainer, check_monitor, start_from
from stmask.engine.checkpoint_callbacks import BestCheckpoint, LastCheckpoint, validation_figures
from stmask.engine.interruption import StopRequest
from stmask.engine.metrics_log import MetricsLog
from stmask.engine.provenance import code_changes, describe
from stmask.engine.resume import check_content, checkpoint_to_resume, taking_up
from stmask.engine.run_folder import Origin, RunFolder, is_first_process
from stmask.engine.validation import validator_for
from stmask.engine.wandb_logging import wandb_runs
from stmask.registry import trust

_log = logging.getLogger(__name__)


def train(cfg: DictConfig, *, origin: Origin = Origin()) -> dict[str, float]:
    """Trains as `conf/train.yaml` says, into the folder `cfg.output_dir`; see `RunFolder` for what it then holds.

    Args:
        cfg: checked, see `stmask.config.compose`.
        origin: what the run was asked for with.

    Returns:
        The figures of the best validation ("valid/..", none where nothing was validated), "step", the optimiser steps
        that it, or without it the training, comes after, and "train_seconds", of all attempts together.

    Raises:
        StmaskError: whatever the user can mend.
        Interrupted: a signal came; the run can go on from checkpoints/last.ckpt, if it was training already.
    """
    trust(cfg.get("trust") or ())
    folder = RunFolder(cfg.output_dir)
    stop = StopRequest()
    with folder.locked(), stop.listening():
        resume = checkpoint_to_resume(cfg, folder)
        with folder.attempt(resumed=resume is not None):
            return _train(cfg, folder, origin, resume, stop)


def train_and_tell(cfg: DictConfig, *, origin: Origin) -> float | None:
    """Trains, as `train`, and says what came of it.

    Returns:
        The best of the figure that the configuration monitors; None where nothing was validated.
    """
    figures = train(cfg, origin=origin)
    best = figures.get(cfg.monitor)
    if is_first_process():
        result = "" if best is None else f", best {cfg.monitor} {best:.4f}"
        _log.info("trained in %.0f s%s: %s", figures["train_seconds"], result, cfg.output_dir)
    return best


def _train(
    cfg: DictConfig, folder: RunFolder, origin: Origin, resume: Path | None, stop: StopRequest
) -> dict[str, float]:
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data: VISDataModule = instantiate(cfg.data, _convert_="all")
    log = MetricsLog(folder.metrics)
    last = LastCheckpoint(folder, every=cfg.checkpoint_every, stop=stop, log=log)
    best = BestCheckpoint(folder, monitor=cfg.monitor) if data.valid_split is not None else None
    callbacks: list[Callback] = [last] if best is None else [best, last]  # the state of the best is part of the last
    trainer = build_trainer(cfg, folder, callbacks=callbacks, log=log)
    loops.install(trainer, last)
    batch = batch_of(cfg, processes=trainer.world_size)
    data.batch_size = batch.per_process
    data.setup("fit")
    validator = validator_for(data)
    if validator is not None:
        check_monitor(cfg.monitor, validator)
    module = build_module(cfg, data, validator, batch=batch.total)
    if resume is not None:
        check_content(resume, module.model)
    elif cfg.init_from is not None:
        start_from(module, cfg.init_from, report=folder.path / "init_from.txt")
    folder.describe(cfg, describe(cfg, module.model, origin), changes=code_changes())
    with wandb_runs(trainer.loggers), taking_up(resume):
        trainer.fit(module, datamodule=data, ckpt_path=resume)
        step = {"step": float(trainer.global_step)}
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return {**validation_figures(trainer), **step, "train_seconds": last.seconds}
        if best is not None and best.figures:
            step = {**best.figures, "step": float(best.step)}
        figures = {**step, "train_seconds": last.seconds}
        folder.summarise(figures)
    return figures
