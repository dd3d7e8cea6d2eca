"""Loggers and callbacks of a run: several options of a group at once, and those of a user."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from engine.tiny import TINY

import stmask.cli
from stmask.config import compose
from stmask.engine.records import ValidationRecord
from stmask.errors import ConfigError
from stmask.inference.pictures import LabelledFrame


@pytest.mark.parametrize(
    ("overrides", "loggers"),
    [
        ([], []),
        (["logger=csv"], []),
        (["logger=null"], []),
        (["logger=none"], []),
        (["logger=[]"], []),
        (["logger=wandb"], ["wandb"]),
        (["logger=[csv,wandb,tensorboard]"], ["tensorboard", "wandb"]),
        (["logger=[tensorboard,csv]"], ["tensorboard"]),
        (["logger=[tensorboard,none,wandb]", "experiment=demo"], ["tensorboard", "wandb"]),
    ],
)
def test_loggers_are_a_list_in_any_order(overrides: list[str], loggers: list[str]) -> None:
    assert sorted(compose("train", overrides).logger) == loggers


def test_each_logger_has_keys_of_its_own() -> None:
    words = ["logger=[wandb,tensorboard]", "logger.wandb.mode=offline", "logger.wandb.name=1.50"]
    cfg = compose("train", [*words, "logger.tensorboard.flush_secs=5", "output_dir=out"])
    assert (cfg.logger.wandb.mode, cfg.logger.wandb.name) == ("offline", "1.50")
    assert cfg.logger.tensorboard == {
        "_target_": "stmask.engine.tensorboard_logging.TensorBoardLogger", "folder": "out/tensorboard", "flush_secs": 5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["logger=[csv,wnadb]"], "no option 'wnadb' in group 'logger'; did you mean 'wandb'?"),
        (["logger=wandb", "logger.mode=online"],
         "unknown key 'logger.mode'; each option has keys of its own: logger.wandb.mode"),
        (["logger=wandb", "logger.tensorboard.flush_secs=5"],
         "logger.tensorboard.flush_secs needs the option tensorboard of the group logger: give "
         "logger=[wandb,tensorboard]"),
        (["logger=wandb", "logger.wandb.modes=x"],
         "unknown key 'logger.wandb.modes'; did you mean 'logger.wandb.mode'?"),
        (["callbacks=early_stopping", "callbacks.early_stopping.patience=long"],
         "callbacks.early_stopping.patience must be int, got 'long'"),
        (["callbacks=early_stop"], "no option 'early_stop' in group 'callbacks'; did you mean 'early_stopping'?"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_answered(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", overrides)
    assert str(caught.value) == message


def test_tensorboard_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    words = [*TINY, "logger=[csv,tensorboard]", f"data.root={dataset}", f"output_dir={tmp_path / 'run'}"]
    assert stmask.cli.main(["train", *words]) == 2
    assert "needs tensorboard, which is not installed: pip install 'stmask[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


MINE = """
from pytorch_lightning.callbacks import Callback

class Steps(Callback):
    def __init__(self, *, file: str):
        self.file, self.seen = file, 0
    def on_train_batch_end(self, *args):
        self.seen += 1
        open(self.file, "w").write(str(self.seen))
    def state_dict(self):
        return {"seen": self.seen}
    def load_state_dict(self, state):
        self.seen = state["seen"]
"""


def test_a_callback_of_the_user_s_is_a_file(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs beside another one, keeps its state when the run goes on, and is not in the checkpoint's card."""
    (tmp_path / "steps_of_mine.py").write_text(MINE)
    folder = tmp_path / "mine" / "callbacks"
    folder.mkdir(parents=True)
    (folder / "steps.yaml").write_text(
        f"# @package callbacks.steps\n_target_: steps_of_mine.Steps\nfile: {tmp_path / 'seen'}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = [*TINY, f"data.root={dataset}", f"output_dir={tmp_path / 'run'}", "callbacks=[early_stopping,steps]",
           "records=none", "scheduler.total_steps=4", "resume=auto",
           "--config-dir", str(tmp_path / "mine")]  # fmt: skip
    assert stmask.cli.main(["train", *run, "trainer.max_steps=2"]) == 0
    assert stmask.cli.main(["train", *run]) == 0
    assert (tmp_path / "seen").read_text() == "4"

    import torch

    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"seen": 4} in content["callbacks"].values()
    assert "steps_of_mine" not in str({key: value for key, value in content.items() if key != "callbacks"})

    (folder / "steps.yaml").write_text("# @package callbacks.steps\n_target_: collections.OrderedDict\n")
    assert stmask.cli.main(["train", *run[:-4], f"output_dir={tmp_path / 'other'}", *run[-2:]]) == 2
    said = capsys.readouterr().err
    assert "callbacks.steps builds a collections.OrderedDict, not a Callback of Lightning's" in said


def test_tensorboard_has_scalars_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stmask.engine.tensorboard_logging import TensorBoardLogger

    labels = np.zeros((8, 12), np.int32)
    labels[:4] = 1
    frame = LabelledFrame(title="a", frame=np.full((8, 12, 3), 100, np.uint8), labels=labels)
    for steps in (range(2), range(2, 4)):  # a run that goes on
        logger = TensorBoardLogger(tmp_path / "tensorboard")
        for step in steps:
            logger.log_metrics({"train/loss": 3.0 - step}, step=step)
        logger.log_validation(ValidationRecord(step=4, classes=[], class_names=("x",), frames=[frame], film=None))
        logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(0, 3), (1, 2), (2, 1), (3, 0)]
    picture = events.Images("validation/0")[-1]
    assert (picture.step, picture.height, picture.width) == (3, 8, 12)
