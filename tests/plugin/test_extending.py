"""docs/extending.md: a package of somebody else's, run from the command line as the page has it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FILE = re.compile(r'^```\w+ title="(.+?)"\n(.*?)^```', flags=re.S | re.M)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", flags=re.S | re.M)
STMASK = [sys.executable, "-m", "stmask"]
STEPS = 200  # of the page's training


class Stranger:
    """Somebody with the page's files in a folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        page = PAGE.read_text(encoding="utf-8")
        self.files = dict(FILE.findall(page))
        for name, text in self.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text, encoding="utf-8")
        lines = (line for block in COMMANDS.findall(page) for line in block.splitlines())
        self.commands = [shlex.split(line.removeprefix("python -m stmask ")) for line in lines]

    def page(self, *words: str) -> list[str]:
        """The one command of the page that has these words."""
        (command,) = (command for command in self.commands if set(words) <= set(command))
        return command

    def start(self, command: list[str], **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*STMASK, *command],
            cwd=self.home,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: list[str], *, status: int = 0, **variables: str) -> str:
        """What a command says; its exit status is looked at."""
        process = self.start(command, **variables)
        said, _ = process.communicate()
        assert process.returncode == status, said
        return said

    def json(self, name: str) -> Any:
        return json.loads((self.home / name).read_text())

    def logged(self, run: str) -> list[dict[str, str]]:
        path = self.home / run / "metrics.csv"
        return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


def other(command: list[str], **changes: str) -> list[str]:
    """A command with other values of some keys."""
    return [
        f"{key}={changes.get(key, value)}" if equals else key
        for key, equals, value in (w.partition("=") for w in command)
    ]


def test_what_the_page_promises(stranger: Stranger) -> None:
    assert len(stranger.files["toyvis/model.py"].splitlines()) <= 80
    assert len(stranger.files["conf/data/shapes.yaml"].splitlines()) == 4


@pytest.mark.slow
def test_somebody_elses_package(stranger: Stranger) -> None:
    stranger.run(stranger.page("synthesize"))
    train = stranger.page("train", "experiment=toyvis", "output_dir=runs/toyvis")
    it_learns(stranger, train)
    it_stops_and_goes_on(stranger, train)
    it_evaluates(stranger)
    it_predicts(stranger)
    it_sweeps(stranger)
    stmask_takes_its_backbone(stranger)
    said = stranger.run([*train, "model.widht=8"], status=2)
    assert "unknown key 'model.widht'; did you mean 'model.width'?" in said


def it_learns(stranger: Stranger, train: list[str]) -> None:
    stranger.run(train)
    summary = stranger.json("runs/toyvis/summary.json")
    assert summary["valid/AP"] > 0.1
    assert 0 < summary["valid/counting"] <= 1
    rows = stranger.logged("runs/toyvis")
    assert {"train/class", "train/box", "train/mask", "valid/counting"} < rows[0].keys()
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses[-1] < losses[0] / 2


def it_stops_and_goes_on(stranger: Stranger, train: list[str]) -> None:
    """It ends as the run that was never stopped."""
    train = other(train, output_dir="runs/stopped")
    process = stranger.start(train)
    while process.poll() is None and not stranger.logged("runs/stopped"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 130, said
    steps = [int(row["step"]) for row in stranger.logged("runs/stopped")]
    assert steps[-1] < STEPS - 1
    stranger.run([*train, "resume=auto"])
    whole, stopped = (
        torch.load(stranger.home / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("runs/toyvis", "runs/stopped")
    )
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert stranger.logged("runs/toyvis") == stranger.logged("runs/stopped")


def it_evaluates(stranger: Stranger) -> None:
    evaluate = stranger.page("evaluate")
    refused = [word for word in evaluate if not word.startswith("trust=")]
    assert "'toyvis.model.ToyVIS' to be called, which is not registered" in stranger.run(refused, status=2)
    stranger.run(evaluate)
    metrics, best = stranger.json("scores/metrics.json"), stranger.json("runs/toyvis/summary.json")
    assert metrics["AP"] == pytest.approx(best["valid/AP"])
    assert metrics["counting"] == pytest.approx(best["valid/counting"])
    found = stranger.json("scores/results.json")
    assert {entry["category_id"] for entry in found} == {1, 2}
    assert max(sum(mask is not None for mask in entry["segmentations"]) for entry in found) == 8

    never_joined = ["model/tracker=iou", "model.tracker.new_object.mask_iou=1.0"]
    stranger.run([*other(refused, output="iou"), *never_joined], PYTHONPATH=installed(stranger))
    assert stranger.json("iou/metrics.json")["counting"] < metrics["counting"]
    assert {
        sum(mask is not None for mask in entry["segmentations"]) for entry in stranger.json("iou/results.json")
    } == {1}


def installed(stranger: Stranger) -> str:
    """PYTHONPATH with what an installation of pyproject.toml leaves behind, and the package."""
    points = stranger.files["pyproject.toml"].partition('[project.entry-points."stmask.classes"]')[2].partition("[")[0]
    record = stranger.home / "site" / "toyvis-0.1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: toyvis\nVersion: 0.1\n")
    (record / "entry_points.txt").write_text("[stmask.classes]" + points.replace('"', ""))
    return os.pathsep.join([str(record.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def it_predicts(stranger: Stranger) -> None:
    stranger.run(stranger.page("predict"))
    assert (stranger.home / "out.mp4").stat().st_size > 0
    tracks = stranger.json("out.json")
    assert tracks
    assert all(len(track["segmentations"]) == 8 for track in tracks)


def it_sweeps(stranger: Stranger) -> None:
    said = stranger.run(stranger.page("train", "-m"))
    assert "done: model.width=8\n" in said
    assert "done: model.width=16\n" in said
    summaries = [
        json.loads(path.read_text()) for path in stranger.home.glob("runs/sweeps/toyvis-*/seed_0/summary.json")
    ]
    assert [summary["step"] for summary in summaries] == [30, 30]


def stmask_takes_its_backbone(stranger: Stranger) -> None:
    stranger.run(stranger.page("train", "model/backbone=strided"))
    state = torch.load(stranger.home / "runs/strided/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert "model.backbone.c5.0.weight" in state
    assert stranger.json("runs/strided/summary.json")["step"] == 4
