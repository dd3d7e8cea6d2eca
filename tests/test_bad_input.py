"""What a user gets wrong: one line that names the thing, exit status 2, nothing half written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY

from stmask.cli import main
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.runs.folder import RunFolder, state_of


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4)
    return write_dataset(tmp_path_factory.mktemp("data") / "synthetic", config, videos=2, valid_videos=1)


@pytest.fixture
def dataset(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "synthetic"))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail, and gives its one line of complaint."""

    def run(*argv: str) -> str:
        assert main(list(argv)) == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("stmask: error:")]
        assert len(lines) == 1, lines
        return lines[0]

    return run


def train(dataset: Path, output: Path, *overrides: str) -> list[str]:
    return ["train", *TINY, f"data.root={dataset}", f"output_dir={output}", *overrides]


def edit(dataset: Path, change: Callable[[dict[str, Any]], None], split: str = "train") -> None:
    content = json.loads((dataset / f"{split}.json").read_text())
    change(content)
    (dataset / f"{split}.json").write_text(json.dumps(content))


def test_a_missing_frame(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    for frame in (dataset / "train" / "JPEGImages").glob("*/*.jpg"):
        frame.unlink()
    assert ".jpg" in refused(*train(dataset, tmp_path / "run"))


def test_an_unreadable_frame(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    for frame in (dataset / "train" / "JPEGImages").glob("*/*.jpg"):
        frame.write_bytes(frame.read_bytes()[:100])
    assert ".jpg" in refused(*train(dataset, tmp_path / "run"))


def test_a_json_of_something_else(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (dataset / "train.json").write_text('{"images": []}')
    assert "train.json" in refused(*train(dataset, tmp_path / "run"))
    (dataset / "train.json").write_text("{")
    assert "train.json" in refused(*train(dataset, tmp_path / "run"))


def test_a_list_of_the_wrong_length(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    edit(dataset, lambda content: content["annotations"][0]["segmentations"].pop())
    message = refused(*train(dataset, tmp_path / "run"))
    assert "train.json" in message
    assert "segmentations" in message


def test_a_category_that_does_not_exist(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    edit(dataset, lambda content: content["annotations"][0].update(category_id=77))
    assert "77" in refused(*train(dataset, tmp_path / "run"))


def test_videos_without_annotations(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    edit(dataset, lambda content: content.pop("annotations"))
    assert "train.json" in refused(*train(dataset, tmp_path / "run"))


def test_a_checkpoint_of_another_network(tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.ckpt")
    message = refused("evaluate", f"checkpoint={tmp_path / 'other.ckpt'}", f"output={tmp_path / 'out'}")
    assert "other.ckpt" in message
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_run_does_not_go_on_from_another_network(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert main(train(dataset, tmp_path / "run", "trainer.max_steps=2")) == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    message = refused(*train(dataset, tmp_path / "wider", "model.channels=32", f"resume={last}"))
    assert "model.channels: 16 -> 32" in message
    alone = last.rename(tmp_path / "alone.ckpt")  # nothing beside it says what it was made with
    resume = f"resume={alone}"
    assert "another network" in refused(*train(dataset, tmp_path / "wider", "model.channels=32", resume))
    content = torch.load(alone, weights_only=True)
    torch.save({name: content[name] for name in ("state_dict", "stmask")}, alone)
    assert "init_from" in refused(*train(dataset, tmp_path / "weights", resume))


def test_an_unknown_override(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    message = refused(*train(dataset, tmp_path / "run", "model.chanels=32"))
    assert "model.chanels" in message
    assert "model.channels" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.channels=-3", "model.channels must be at least 1"),
        ("model/temporal=none", "model.temporal"),  # the tests' configuration sets its size
        ("optimizer.lr=-1", "optimizer"),
        ("monitor=valid/APP", "valid/AP50"),
        ("monitor=train/loss", "valid/AP50"),  # the best would be the worst
    ],
)
def test_values_that_cannot_work(
    dataset: Path, tmp_path: Path, refused: Callable[..., str], override: str, named: str
) -> None:
    assert named in refused(*train(dataset, tmp_path / "run", override))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_group_of_another_command(refused: Callable[..., str]) -> None:
    assert "no group 'experiment/table1'" in refused("evaluate", "checkpoint=any.ckpt", "experiment/table1=t1_3x3")


def test_an_output_that_cannot_be_written(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in refused(*train(dataset, tmp_path / "file" / "run"))
    assert str(tmp_path / "file") in refused("data", "synthesize", str(tmp_path / "file" / "set"), "--videos", "1")


def test_a_file_that_is_not_a_video(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    message = refused("predict", str(tmp_path / "clip.mp4"), f"checkpoint={tmp_path / 'none.ckpt'}", "output=o.mp4")
    assert "clip.mp4" in message or "none.ckpt" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no GPU; give trainer=cpu" in refused(*train(dataset, tmp_path / "run", "trainer=gpu"))
    assert not (tmp_path / "run").exists()


def test_fewer_gpus_than_asked_for(
    dataset: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "You requested gpu: [0, 1, 2]; But your machine only has: [0, 1]" in refused(
        *train(dataset, tmp_path / "run", "trainer=gpu", "trainer.devices=3")
    )


def test_two_runs_for_one_folder(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), folder.attempt(resumed=False):
        message = refused(*train(dataset, folder.path))
        assert "in use by another run" in message
        assert f"process {os.getpid()} on" in message
    assert state_of(folder.path) == "done"


def test_a_batch_that_cannot_be_shared(dataset: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    shares = ["total_batch=6", "trainer.accumulate_grad_batches=4"]
    assert "total_batch=6" in refused(*train(dataset, tmp_path / "run", *shares))
