"""TensorBoard: the scalars of a run, and the pictures of its validations."""

from __future__ import annotations

import os

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger as _TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from stmask.engine.records import ValidationRecord
from stmask.extras import require
from stmask.viz import track_colour

_MASK = 0.5  # share of a track's colour over its pixels


class TensorBoardLogger(_TensorBoardLogger):
    """Writes a run's scalars and the pictures of its validations to event files; a run that goes on adds one.

    Args:
        folder: for the event files.
        flush_secs: seconds between two writings to the disk.

    Raises:
        ConfigError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], *, flush_secs: int = 60) -> None:
        require("tensorboard", what="logger=tensorboard")
        super().__init__(os.fspath(folder), name="", version="", default_hp_metric=False, flush_secs=flush_secs)

    @rank_zero_only
    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Does nothing: the run's configuration has a file of its own."""

    @rank_zero_only
    def save(self) -> None:
        """Flushes; there are no hyper-parameters to save."""
        self.experiment.flush()

    @rank_zero_only
    def log_validation(self, record: ValidationRecord) -> None:
        """A frame of each video that is drawn, the tracks in their colours."""
        for number, shown in enumerate(record.frames):
            picture = shown.frame.copy()
            for label in np.unique(shown.labels[shown.labels > 0]):
                inside = shown.labels == label
                colour = np.asarray(track_colour(int(label)), np.float32)
                picture[inside] = ((1 - _MASK) * picture[inside] + _MASK * colour).astype(np.uint8)
            self.experiment.add_image(f"validation/{number}", picture, record.step - 1, dataformats="HWC")
