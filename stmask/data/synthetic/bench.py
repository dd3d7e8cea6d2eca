"""The benchmark `bench`: videos that are the same for everybody, by a version that its files state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.dataset import write_dataset

NAME = "bench"
VERSION = 1  # raised whenever the bytes of a video change, so that results of different videos are never compared
TRAIN_VIDEOS, VALID_VIDEOS = 400, 100
_SEED = 0


def write_bench(
    out: str | os.PathLike[str],
    *,
    videos: int = TRAIN_VIDEOS,
    valid_videos: int = VALID_VIDEOS,
    overwrite: bool = False,
    on_video: Callable[[], None] = lambda: None,
) -> Path:
    """Writes the benchmark; see `write_dataset`.

    Fewer videos than the benchmark has are for tests only: what they are measured on is another set.

    Raises:
        OutputError: as `write_dataset`.
    """
    return write_dataset(
        out,
        SyntheticConfig.preset(NAME),
        videos=videos,
        valid_videos=valid_videos,
        seed=_SEED,
        overwrite=overwrite,
        on_video=on_video,
        info={"benchmark": NAME, "version": VERSION},
    )
