"""One training run from its configuration: build, fit, keep what is needed to repeat and to use it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from stmask.checkpoint_path import evaluation_command
from stmask.checkpoints import registry
from stmask.checkpoints.construct import names_in
from stmask.config import plain
from stmask.data import DataModule
from stmask.data.loaders import PairLoader
from stmask.data.synthetic.bench import stated
from stmask.engine.build import (
    batch_size_of,
    build_module,
    build_trainer,
    check_monitor,
    check_run,
    start_from,
)
from stmask.engine.checkpoint_callbacks import BestCheckpoint, LastCheckpoint, validation_metrics
from stmask.engine.interruption import StopRequest
from stmask.engine.memory import keep_freed_memory
from stmask.engine.metrics_log import MetricsLog
from stmask.engine.module import VISModule
from stmask.engine.preflight import check_intervals
from stmask.engine.processes import Processes, in_words, is_first_process, sharing_cores
from stmask.engine.resume import check_content, checkpoint_to_resume, taking_up
from stmask.engine.validation import validator_for
from stmask.engine.wandb_logging import wandb_runs
from stmask.runs.find import checkpoint_of
from stmask.runs.folder import Origin, RunFolder
from stmask.runs.provenance import code_changes, describe, threads_beside
from stmask.threads import settle

_log = logging.getLogger(__name__)


def train(cfg: DictConfig, *, origin: Origin = Origin()) -> dict[str, float]:
    """Trains as `conf/train.yaml` says, into the folder `cfg.output_dir`; see `RunFolder` for what it then holds.

    Args:
        cfg: checked, see `stmask.config.compose`.
        origin: what the run was asked for with.

    Returns:
        The metrics of the best validation ("valid/..", none where nothing was validated), "step", the optimiser steps
        that it, or without it the run, comes after, and "train_seconds", of all attempts together.

    Raises:
        StmaskError: whatever the user can mend.
        Interrupted: a signal came; the run can go on from checkpoints/last.ckpt, if it was training already.
    """
    check_run(cfg)
    folder = RunFolder(cfg.output_dir, first=is_first_process(cfg.trainer))
    processes = Processes(folder)
    stop = StopRequest(first=folder.first, end_now=processes.interrupt)
    with folder.locked(), stop.listening():
        resume = checkpoint_to_resume(cfg, folder)
        with folder.attempt(resumed=resume is not None, again=origin.again):
            metrics = _train(cfg, folder, origin, resume, stop, processes)
            if folder.first:
                best = metrics.get(cfg.monitor)
                result = "" if best is None else f", best {cfg.monitor} {best:.4f}"
                _log.info("trained in %.0f s%s: %s", metrics["train_seconds"], result, cfg.output_dir)
                if checkpoint_of(folder.path) is not None:
                    _log.info("evaluate it: %s", _evaluation(cfg))
            return metrics


def _evaluation(cfg: DictConfig) -> str:
    """The command that evaluates a run: on its training data, if it was not validated."""
    named = sorted({*(cfg.get("trust") or ()), *names_in(plain(cfg.model))})
    own = [name for name in named if not registry.is_ours(name)]
    split = cfg.data.get("train") if cfg.data.get("valid") is None else None
    return evaluation_command(cfg.output_dir, split=split if isinstance(split, str) else None, trust=own)


def _train(
    cfg: DictConfig,
    folder: RunFolder,
    origin: Origin,
    resume: Path | None,
    stop: StopRequest,
    processes: Processes,
) -> dict[str, float]:
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    # deterministic=true would write every tensor twice
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if "mixed" in str(cfg.trainer.precision) and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # of what stays in float32: products of deformable convolutions
    log = MetricsLog(folder.metrics)
    last = LastCheckpoint(folder, every=cfg.checkpoint_every, stop=stop, log=log)
    best = BestCheckpoint(folder, monitor=cfg.monitor) if cfg.data.get("valid") is not None else None
    callbacks: list[Callback] = [last] if best is None else [best, last]  # the state of the best is part of the last
    trainer = build_trainer(cfg, folder, callbacks=callbacks, log=log, listener=last)
    before = None if resume is None else threads_beside(resume)
    if (chosen := settle(processes=sharing_cores(trainer), before=before)) and folder.first:
        _log.info("computing with %s", chosen)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    batch_size = batch_size_of(cfg, processes=trainer.world_size)
    batch = batch_size * trainer.world_size  # of all processes
    data: DataModule = instantiate(cfg.data, batch_size=batch_size, _convert_="all")
    data.setup("fit")
    batches = -(-len(data.train_samples()) // batch)
    validated = 0 if data.splits.valid is None else -(-len(data.valid_dataset) // trainer.world_size)
    check_intervals(cfg, trainer, batches=batches, validated=validated)
    validator = validator_for(data)
    if validator is not None:
        check_monitor(cfg.monitor, validator)
    module = build_module(cfg, data, validator, batch=batch * trainer.accumulate_grad_batches)
    if resume is not None:
        check_content(resume, module.model)
    elif cfg.init_from is not None:
        start_from(module, cfg.init_from, report=folder.path / "init_from.txt")
    states = stated(data.train_dataset.annotations_path)
    record = describe(cfg, module.model, origin, bench=None if states is None else states.version)
    folder.describe(cfg, record, changes=code_changes())
    with wandb_runs(trainer.loggers), taking_up(resume):
        _fit(trainer, module, data, resume, processes)
        step = {"step": float(trainer.global_step)}
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return {**validation_metrics(trainer), **step, "train_seconds": last.seconds}
        if best is not None and best.metrics:
            step = {**best.metrics, "step": float(best.step)}
        metrics = {**step, "train_seconds": last.seconds}
        folder.summarise(metrics)
        if not cfg.keep_last and folder.first and folder.best.exists():
            folder.last.unlink(missing_ok=True)
    return metrics


def _fit(trainer: pl.Trainer, module: VISModule, data: DataModule, resume: Path | None, processes: Processes) -> None:
    try:
        with processes.running(trainer):
            trainer.fit(module, datamodule=data, ckpt_path=resume)
    except Exception as error:
        if (explained := in_words(error, trainer, processes)) is not None:
            raise explained from error
        raise
    finally:
        if isinstance(loader := trainer.train_dataloader, PairLoader):
            loader.close()
