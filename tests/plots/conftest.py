from __future__ import annotations

from pathlib import Path

import pytest

from stmask.data import VideoDataset
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.models.stmask import STMask
from stmask.ops.frames import FramePreprocessor
from stmask.plots import places


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=6, objects=(2, 2), leaving=0)
    return write_dataset(tmp_path_factory.mktemp("plots") / "synthetic", config, videos=3, valid_videos=1)


@pytest.fixture(scope="session")
def dataset(root: Path) -> VideoDataset:
    return VideoDataset.from_root(root, "train")


@pytest.fixture(scope="session")
def preprocessor() -> FramePreprocessor:
    return FramePreprocessor(height=72, width=96)  # padded to 96 x 96


@pytest.fixture(scope="session")
def network() -> STMask:
    return places.network(None)
