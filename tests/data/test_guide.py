"""docs/own-videos.md: its commands, run as they stand there."""

import re
import shlex

import cv2
import numpy as np
import pytest
from data.makers import contents, write_frames

from stmask.cli import main
from stmask.data import VideoDataset
from stmask.data.convert import to_masks


@pytest.fixture
def commands(pytestconfig):
    text = (pytestconfig.rootpath / "docs/own-videos.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """Five videos with their mask images, laid out as the guide asks for."""
    monkeypatch.chdir(tmp_path)
    document = contents(videos=5, frames=4)
    write_frames(tmp_path / "mine/train/JPEGImages", document)
    to_masks(document, tmp_path / "mine/masks")
    return tmp_path / "mine"


def test_from_masks_to_two_splits(commands, videos, capsys):
    verbs = [" ".join(command[:2]) for command in commands]
    assert verbs[:5] == ["data frames", "data convert", "data check", "data show", "data split"]
    for command in commands[1:5]:  # the frames are there
        assert main(command) == 0, capsys.readouterr().err
    assert "can be trained on; all frames were read" in capsys.readouterr().out
    parts = [VideoDataset.from_root(videos, name) for name in ("train-sub", "valid-sub")]
    assert [len(part) for part in parts] == [4, 1]
    assert parts[0].class_names == ("bar", "square")
    assert (videos / "pictures/train-sheet.png").is_file()


TINY = [
    "model/backbone=r18",
    "model/temporal=none",
    "model.channels=16",
    "model.num_prototypes=4",
    "model.head.embedding_dim=8",
    "data.preprocessor.height=64",
    "data.preprocessor.width=64",
    "data.num_workers=0",
    "data.batch_size=2",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "data.samples_per_epoch=4",
    "trainer.enable_progress_bar=false",
    "output_dir=run",
]


@pytest.mark.slow
def test_to_a_trained_model_and_its_results(commands, videos, tmp_path, capsys):
    for command in commands[1:5]:
        main(command)
    train, evaluate, predict = commands[5:]
    assert main(train + TINY) == 0, capsys.readouterr().err
    best = next((tmp_path / "run/checkpoints").glob("best*.ckpt"))
    best.rename(tmp_path / "best.ckpt")
    assert main([*evaluate, "output=scores"]) == 0, capsys.readouterr().err
    assert (tmp_path / "scores/results.json").is_file()
    (tmp_path / "new").mkdir()
    for t in range(3):
        cv2.imwrite(str(tmp_path / f"new/{t}.png"), np.full((48, 64, 3), 90, np.uint8))
    assert main(["predict", "new", *predict[2:]]) == 0, capsys.readouterr().err
    assert (tmp_path / "out.mp4").is_file()
