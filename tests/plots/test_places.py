from __future__ import annotations

from pathlib import Path

import pytest

from stmask.data import VideoDataset
from stmask.errors import ConfigError
from stmask.plots import places


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (places.DATA_VARIABLE, places.RUN_VARIABLE, places.RUNS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_variables_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "demo" / "run").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    for name, look_up in (
        (places.DATA_VARIABLE, places.dataset_root),
        (places.RUN_VARIABLE, places.run_folder),
        (places.RUNS_VARIABLE, places.runs_folder),
    ):
        monkeypatch.setenv(name, "mine")
        assert look_up() == tmp_path / "mine"


def test_a_variable_that_names_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.RUN_VARIABLE, "nothing")
    with pytest.raises(ConfigError, match=r"STMASK_RUN names .*nothing, which is not a folder"):
        places.run_folder()


def test_what_the_demo_left_is_found_from_below(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("demo/run/checkpoints", "demo/data", "runs", "notebooks"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert places.run_folder() is None  # it trains, and has nothing to show yet
    (tmp_path / "demo/run/checkpoints/last.ckpt").touch()
    assert places.run_folder() == tmp_path / "demo" / "run"
    assert places.dataset_root() == tmp_path / "demo" / "data"
    assert places.runs_folder() == tmp_path / "runs"


def test_a_named_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no checkpoint yet: wait for its first, or unset STMASK_RUN"):
        places.network(tmp_path)


def test_a_runs_own_data_comes_before_the_demos(tmp_path: Path) -> None:
    for name in ("run", "own", "demo/data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(f"data: {{root: {tmp_path / 'own'}}}\n")
    assert places.dataset_root(tmp_path / "run") == tmp_path / "own"
    (tmp_path / "own").rmdir()
    assert places.dataset_root(tmp_path / "run") == tmp_path / "demo" / "data"


def test_without_anything_videos_are_made_once() -> None:
    assert places.run_folder() is None
    assert places.runs_folder() is None
    knobs = {"height": 32, "width": 48, "frames": 2, "objects": (1, 1)}
    made = places.synthetic(**knobs)
    assert len(VideoDataset.from_root(made, "train")) > 0
    assert places.synthetic(**knobs) == made


def test_heads_by_their_options() -> None:
    heads = places.heads("plain", "fca9")
    assert {name: len(head.anchor_shapes) for name, head in heads.items()} == {"plain": 3, "fca9": 9}
