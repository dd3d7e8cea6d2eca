from __future__ import annotations

from pathlib import Path

import pytest

from stmask.data.synthetic import SyntheticConfig, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4)
    return write_dataset(tmp_path_factory.mktemp("data") / "synthetic", config, videos=4, valid_videos=2)
