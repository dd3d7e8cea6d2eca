"""The demo in a few steps: it goes on where it stopped, and ends with the report."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from engine.tiny import TINY

import stmask.cli
from stmask.commands import demo
from stmask.engine.module import VISModule

SMALL = [word for word in TINY if not word.startswith("experiment=")]
FILES = {"video.mp4", "video.json", "sheet.png", "report.html", "summary.json"}
DONE = FILES | {"data", "run", "evaluation", "long_video"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name, value in {"_TRAIN_VIDEOS": 2, "_VALID_VIDEOS": 2, "_LONG_FRAMES": 4, "_SHEET_VIDEOS": 1}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "_LONG_VIDEO", {"frames": 4, "objects": (1, 1)})
    monkeypatch.delenv(demo.TYPED, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stopped_in(name: str, monkeypatch: pytest.MonkeyPatch, *, step: int) -> None:
    real, sent = getattr(VISModule, name), list[int]()

    def wrapped(self: VISModule, *args: Any) -> Any:
        if self.global_step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args)

    monkeypatch.setattr(VISModule, name, wrapped)


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(demo.TYPED, "make demo")
    caplog.set_level("INFO")
    with monkeypatch.context() as patch:
        stopped_in("training_step", patch, step=1)
        assert stmask.cli.main(["demo", *SMALL]) == 130
    assert "stopped after step 2; to go on: make demo" in caplog.messages
    with monkeypatch.context() as patch:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("stmask.commands.demo._draw", stop)
        capsys.readouterr()
        assert stmask.cli.main(["demo", *SMALL]) == 130
        assert capsys.readouterr().err.splitlines()[-2:] == ["to go on: make demo", "stmask: interrupted"]
    before = {path: path.stat().st_mtime_ns for path in small.glob("demo/run/checkpoints/*")}
    results = small / "demo/evaluation/results.json"
    before[results] = results.stat().st_mtime_ns
    assert stmask.cli.main(["demo", *SMALL]) == 0
    said = capsys.readouterr().out
    assert "demo/run is done already" in said.replace("\n", "")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.name for path in (small / "demo").iterdir()} == DONE
    assert json.loads((small / "demo/summary.json").read_text())["train_seconds"] > 0
    assert "make demo" in (small / "demo/report.html").read_text()
    assert "open " in said.splitlines()[-1]

    assert stmask.cli.main(["demo", *SMALL, "optimizer.lr=1"]) == 2  # nothing of the finished one is lost
    assert "holds a demo of other settings (optimizer.lr: 0.002 -> 1" in capsys.readouterr().err
    assert {path.name for path in (small / "demo").iterdir()} == DONE


def test_what_was_typed_is_what_goes_on(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_make_data", stop)
    assert stmask.cli.main(["demo", "--output=a b", "seed=3"]) == 130
    assert capsys.readouterr().err == "to go on: stmask demo '--output=a b' seed=3\nstmask: interrupted\n"
