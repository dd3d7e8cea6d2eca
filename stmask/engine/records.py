"""What is kept of every validation: metrics, a table of classes, pictures of the same few videos, results."""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from stmask.data import VideoDataset
from stmask.engine.checkpoint_callbacks import validation_metrics
from stmask.engine.module import VISModule
from stmask.engine.validation import Validator
from stmask.evaluation.report import class_csv
from stmask.files import atomic_open, read_json, write_json
from stmask.inference.pictures import LabelledFrame, busiest_videos, draw_clips
from stmask.runs.validations import (
    CLASSES,
    FILM,
    METRICS,
    RESULTS,
    SHEET,
    TIMES,
    record_folder,
    record_folders,
    write_times,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """One validation, as loggers that know of records get it.

    Attributes:
        step: optimiser steps before it.
        classes: rows of classes.csv, by column.
        class_names: of the validated split; label k of the frames is `class_names[k - 1]`.
        frames: one of each video that is drawn; none of images.
        film: of these videos; None without any.
    """

    step: int
    classes: Sequence[dict[str, str]]
    class_names: tuple[str, ...]
    frames: Sequence[LabelledFrame]
    film: Path | None


@runtime_checkable
class RecordLogger(Protocol):
    """A logger that takes records."""

    def log_validation(self, record: ValidationRecord) -> None: ...


class ValidationRecords(Callback):
    """Writes `folder`/step_00001000 after the validation at step 1000, and hands the record to the loggers.

    There are figures.json (all that is logged, the causes of errors included), classes.csv, and of videos (images are
    not drawn) clips.png, clip.mp4 and videos.csv, the seconds of each; and results.json, which is kept for the best
    validation and the latest alone. Process 0 writes, with the results of all. What can't be written or drawn costs a
    warning, not the run. A resumed run first removes what lies after its step.

    Args:
        folder: for the records.
        monitor: the metric that says which validation is the best.
        clips: how many videos are drawn: those with the most annotated objects, the same every time.
        min_score: tracks below it are not drawn.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, monitor: str = "valid/AP", clips: int = 4, min_score: float = 0.3
    ) -> None:
        if clips < 0:
            raise ValueError(f"clips must not be negative, got {clips}")
        self._folder = Path(folder)
        self._monitor, self._clips, self._min_score = monitor, clips, min_score
        self._warned = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for step, folder in record_folders(self._folder):
                if step > trainer.global_step:
                    shutil.rmtree(folder, ignore_errors=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, VISModule)
        validator = pl_module.validator
        if validator is None or trainer.sanity_checking:
            return
        if trainer.is_global_zero:
            with self._never_fatal(trainer):
                self._record(trainer, validator)

    def _record(self, trainer: pl.Trainer, validator: Validator) -> None:
        step = int(trainer.global_step)
        folder = record_folder(self._folder, step)
        write_json(folder / METRICS, {"step": step, **validation_metrics(trainer)}, indent=1)
        write_json(folder / RESULTS, validator.entries)
        if validator.task.drawn:
            write_times(folder / TIMES, validator.seconds)
        self._drop_results(latest=folder)
        classes = class_csv(validator.scores.report)
        with atomic_open(folder / CLASSES) as handle:
            handle.write(classes)
        frames: list[LabelledFrame] = []
        with self._never_fatal(trainer):
            frames = self._draw(trainer, validator, folder)
        record = ValidationRecord(
            step=step,
            classes=list(csv.DictReader(io.StringIO(classes))),
            class_names=trainer.datamodule.valid_dataset.class_names,  # type: ignore[attr-defined]
            frames=frames,
            film=folder / FILM if (folder / FILM).exists() else None,
        )
        for logger in trainer.loggers:
            if isinstance(logger, RecordLogger):
                logger.log_validation(record)

    def _draw(self, trainer: pl.Trainer, validator: Validator, folder: Path) -> list[LabelledFrame]:
        if not validator.task.drawn:
            return []
        dataset: VideoDataset = trainer.datamodule.valid_dataset  # type: ignore[attr-defined]
        seen = int(min(sum(trainer.num_val_batches) * trainer.world_size, len(dataset)))
        videos = busiest_videos(dataset, self._clips, among=seen)
        if not videos:
            return []
        files = {"sheet": folder / SHEET, "film": folder / FILM}
        return draw_clips(dataset, videos, validator.entries, min_score=self._min_score, **files)

    @contextmanager
    def _never_fatal(self, trainer: pl.Trainer) -> Iterator[None]:
        """A picture is not worth a run: the first failure is logged, later ones are silent."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                _log.warning(
                    "cannot keep the validation at step %d (later failures are not reported): %s",
                    trainer.global_step,
                    error,
                )
            self._warned = True

    def _drop_results(self, *, latest: Path) -> None:
        """Those of all validations but the best and the latest: they are the large ones."""
        folders = [folder for _, folder in record_folders(self._folder)]
        best = max(folders, key=lambda folder: read_json(folder / METRICS).get(self._monitor, -1.0))
        for folder in folders:
            if folder not in (best, latest):
                for name in (RESULTS, TIMES):
                    (folder / name).unlink(missing_ok=True)
