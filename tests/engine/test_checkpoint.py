"""Checkpoints: what is refused, and that a failing write leaves the old file."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import stmask
from stmask.checkpoints import ModelCard, save_model
from stmask.checkpoints import format as checkpoint_module
from stmask.engine.checkpoint_callbacks import AtomicCheckpointIO
from stmask.errors import CheckpointError, ConfigError, OutputError
from stmask.models.layers import ResNet
from stmask.models.stmask import PredictionHead, STMask
from stmask.weights import read_file

CONFIG = {
    "_target_": "stmask.models.stmask.STMask",
    "backbone": {"_target_": "stmask.models.layers.ResNet", "depth": 18},
    "head": {"_target_": "stmask.models.stmask.PredictionHead", "_partial_": True, "embedding_dim": 8},
    "channels": 16,
    "num_prototypes": 4,
    "num_classes": 2,
}


def make(**changes: Any) -> tuple[STMask, ModelCard]:
    config = {**CONFIG, **changes}
    model = STMask(
        backbone=ResNet(depth=18),
        num_classes=2,
        channels=16,
        num_prototypes=4,
        head=partial(PredictionHead, embedding_dim=8),
    )
    return model, ModelCard(model=config, class_names=("cat", "dog"))


def test_round_trip(tmp_path: Path) -> None:
    model, card = make()
    save_model(tmp_path / "m.ckpt", model, card)
    loaded = stmask.load(tmp_path / "m.ckpt")
    assert loaded.card == card
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values()))


def test_another_network_is_named_by_its_first_differences(tmp_path: Path) -> None:
    save_model(tmp_path / "m.ckpt", *make(channels=24))
    with pytest.raises(
        CheckpointError, match=r"another network: fpn\.lateral\.C3\.weight is \(16, .*the network's is \(24"
    ):
        stmask.load(tmp_path / "m.ckpt")


def test_changes_that_make_another_network_are_refused_as_changes(tmp_path: Path) -> None:
    save_model(tmp_path / "m.ckpt", *make())
    with pytest.raises(ConfigError, match=r"these changes of model make another network than was trained \(.*m\.ckpt"):
        stmask.load(tmp_path / "m.ckpt", model={"channels": 24})


def test_only_our_classes_are_built(tmp_path: Path) -> None:
    save_model(tmp_path / "m.ckpt", *make(backbone={"_target_": "os.system", "command": "true"}))
    with pytest.raises(CheckpointError, match=r"wants 'os\.system' to be called"):
        stmask.load(tmp_path / "m.ckpt")


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n<html>", "web page"),
        (b'<?xml version="1.0"?><html>', "web page"),
        (b"plain text", "not a PyTorch checkpoint"),
        (b"", "is empty"),
        (pickle.dumps(Code()), "could run code"),
    ],
)
def test_files_that_are_no_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_file(tmp_path / "w.pth")
    assert "code was run" not in capsys.readouterr().out


def test_code_inside_a_torch_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "hook": Code()}, tmp_path / "w.pth")
    for read in (read_file, AtomicCheckpointIO().load_checkpoint):  # the second is Lightning's, of a run that goes on
        with pytest.raises(CheckpointError, match="could run code"):
            read(tmp_path / "w.pth")
    assert "code was run" not in capsys.readouterr().out


def test_truncated(tmp_path: Path) -> None:
    save_model(tmp_path / "m.ckpt", *make())
    content = (tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "m.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        stmask.load(tmp_path / "m.ckpt")


def test_old_files_truncated_anywhere_and_old_files_with_code(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """The format of PyTorch before 1.6 is a row of pickles; where it is cut the reader may fail in any way."""
    path = tmp_path / "w.pth"
    state = {f"module.layer{i}.weight": torch.zeros(3) for i in range(90)}  # more entries than a byte counts
    torch.save(state, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert len(read_file(path)) == 90
    for length in [*range(1, 150, 7), *range(150, len(content), 151), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read_file(path)
    torch.save({**state, "hook": Code()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="could run code"):
        read_file(path)
    assert not recwarn


def test_missing_and_foreign(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        stmask.load(tmp_path / "none.ckpt")
    torch.save({"epoch": 3, "weights": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        stmask.load(tmp_path / "other.ckpt")


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, str(target))

    class FullDisk:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def write(self, content: bytes) -> int:
            self.handle.write(b"half")
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            self.handle.flush()

    save = torch.save  # its own error comes after the disk's
    monkeypatch.setattr(checkpoint_module.torch, "save", lambda content, handle: save(content, FullDisk(handle)))
    with pytest.raises(OutputError, match=r"last\.ckpt: No space left"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, str(target))
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
