"""Frames per second: what is timed, where it goes, and what stops it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine.tiny import TINY
from experiments.made_runs import made_speed, write_run
from omegaconf import DictConfig, OmegaConf

from stmask.checkpoints import ModelCard, build_model, save_model
from stmask.cli import main
from stmask.config import compose
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.errors import ConfigError
from stmask.experiments import benchmark
from stmask.experiments.speed import PROCEDURE, read_speed, write_speed
from stmask.experiments.timing import Image, Yardstick, measure, take_clips
from stmask.files import read_json, write_json
from stmask.inference.segmenter import VideoSegmenter
from stmask.models import Tracker, VideoModel
from stmask.ops.frames import FramePreprocessor
from stmask.tracking import PlainTracker


def video(frames: int, value: int = 0) -> list[Image]:
    return [np.full((20, 30, 3), value + i, np.uint8) for i in range(frames)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4)
    return write_dataset(tmp_path_factory.mktemp("data") / "synthetic", config, videos=1, valid_videos=2)


def save(path: Path, data: Path | None, *overrides: str) -> Path:
    """A checkpoint with weights as they were drawn; in a run's folder its config.yaml says where its data lie."""
    torch.manual_seed(0)
    cfg = compose("train", [*TINY, f"data.root={data}", *overrides])
    config = _plain(cfg.model)
    model = build_model(config, num_classes=6)
    card = ModelCard(
        model={**config, "num_classes": 6},
        class_names=tuple("abcdef"),
        preprocessor=FramePreprocessor(height=64, width=96),
        data={} if data is None else _plain(cfg.data),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, model, card)
    if path.parent.name == "checkpoints" and data is not None:
        config_file = path.parent.parent / "config.yaml"
        config_file.touch()
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(config_file), {"data": {"root": str(data)}}), config_file)
    return path


def _plain(node: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


# --- what is timed


@pytest.mark.parametrize(
    ("lengths", "frames", "clips"),
    [
        ((5, 5), 6, [5, 3]),
        ((1, 3), 2, [3]),  # an image has no frame to follow from
        ((60,), 40, [25, 17]),
        ((3,), 5, [3, 3, 2]),  # too few: they come up again
        ((26,), 24, [25]),
    ],
)
def test_clips_hold_the_frames_to_time_and_a_first_one(lengths: tuple[int, ...], frames: int, clips: list[int]) -> None:
    taken = take_clips((video(n) for n in lengths), frames=frames, source="here")
    assert [len(clip) for clip in taken] == clips
    assert sum(len(clip) - 1 for clip in taken) == frames


def test_without_two_frames_in_a_row_there_is_nothing_to_time() -> None:
    with pytest.raises(ConfigError, match="here holds no video of two frames or more .* --frames-from"):
        take_clips([video(1), video(1)], frames=3, source="here")


class _Nothing(VideoModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def tracker(self) -> Tracker:
        return PlainTracker()


class _Counting(VideoSegmenter):
    """Notes what it is given instead of looking at it."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(_Nothing(), preprocessor=FramePreprocessor(height=10, width=12))
        self.name, self.log = name, log

    def reset(self) -> None:
        self.log.append(f"{self.name}:")

    def step(self, frame: Image) -> list[int]:  # type: ignore[override]
        assert frame.shape == (10, 12, 3)  # resized before the clock starts
        self.timings["network"] += 0.001
        self.log.append(str(frame[0, 0, 0]))
        return [1, 2, 3]


def test_networks_take_turns_after_every_clip_each_from_its_first_frame() -> None:
    log: list[str] = []
    clips = [tuple(video(3)), tuple(video(2, 100))]
    speeds = measure([_Counting("A", log), _Counting("B", log)], clips, precision="float32")
    warm_up = 1 + 8
    assert log[2 * warm_up :] == ["A:", "0", "1", "2", "B:", "0", "1", "2", "B:", "100", "101", "A:", "100", "101"]
    for speed in speeds:
        assert (speed.frames, speed.objects, speed.height, speed.width) == (3, 3.0, 10, 12)
        assert speed.p10 <= speed.milliseconds <= speed.p90
        assert speed.stages["network"] == pytest.approx(1.0)
        assert speed.conditions.torch == torch.__version__
        assert speed.conditions.threads == torch.get_num_threads()


def test_a_speed_is_kept_in_full_and_not_taken_from_another_procedure(tmp_path: Path) -> None:
    speed = made_speed(25.0)
    write_speed(tmp_path, speed)
    assert read_speed(tmp_path) == speed
    stored = read_json(tmp_path / "fps.json")
    assert stored["fps"] == pytest.approx(25.0)
    write_json(tmp_path / "fps.json", {**stored, "procedure": PROCEDURE + 1})
    assert read_speed(tmp_path) is None


def test_the_yardstick_is_a_network_of_its_own() -> None:
    yardstick = Yardstick(torch.device("cpu"))
    yardstick.add()
    assert yardstick.milliseconds > 0


# --- the command


def test_networks_side_by_side_and_a_run_keeps_its_speed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    save(run / "checkpoints" / "best.ckpt", data)
    other = save(tmp_path / "other" / "checkpoints" / "other.ckpt", data, "model/head=plain")
    out = tmp_path / "speed.json"
    arguments = [str(run), "--against", str(other), "--frames", "4", "--device", "cpu", "--json", str(out)]
    assert main(["benchmark", "inference", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "float32" in printed[0]
    assert printed[1].split()[:3] == ["network", "input", "ms"]
    assert printed[2].startswith(str(other))
    assert printed[2].endswith("1.00")
    assert printed[3].startswith(str(run))
    kept = read_speed(run)
    assert kept is not None
    assert (kept.frames, kept.height, kept.width, kept.conditions.precision) == (4, 64, 96, "float32")
    assert [entry["network"] for entry in json.loads(out.read_text())["networks"]] == [str(other), str(run)]
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "fps.json"]


def test_a_video_stands_in_for_data_that_is_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = next((data / "valid" / "JPEGImages").iterdir())
    checkpoint = save(tmp_path / "run" / "checkpoints" / "a.ckpt", tmp_path / "moved")
    command = ["benchmark", "inference", str(checkpoint), "--frames", "2", "--precision", "bfloat16"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"the validation videos of {checkpoint} can't be read" in error
    assert "--frames-from" in error
    assert main([*command, "--frames-from", str(frames)]) == 0
    assert "bfloat16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.ckpt"], "cannot read the checkpoint nowhere.ckpt"),
        (["."], "holds no checkpoints/best.ckpt or last.ckpt"),
        (["a.ckpt", "--frames", "0"], "--frames must be at least 1, got 0"),
        (["a.ckpt", "--precision", "int8"], "--precision must be one of float32, bfloat16, float16, got 'int8'"),
        (["a.ckpt", "--device", "tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["bare.ckpt"], "bare.ckpt does not say what it was validated with: give --frames-from"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "bare.ckpt", None)
    assert main(["benchmark", "inference", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_tables_measure_the_runs_that_lack_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "FRAMES", 6)
    runs = tmp_path / "runs"
    lacks = write_run(runs / "lacks", seed=0)
    save(lacks / "checkpoints" / "best.ckpt", data)
    another = write_run(runs / "another", "table4/t4_fca_ada", seed=0)
    save(another / "checkpoints" / "last.ckpt", data)
    moved = write_run(runs / "moved", "table4/t4_fca_ada", seed=1)
    save(moved / "checkpoints" / "best.ckpt", tmp_path / "elsewhere" / "synthetic")
    has = write_run(runs / "has", seed=1, fps=30.0)
    without_weights = write_run(runs / "without", seed=2)
    failed = write_run(runs / "failed", seed=3, state="failed")
    before = (has / "fps.json").read_bytes()
    output = tmp_path / "out"
    assert main(["tables", "table4", "--runs", str(runs), "--output", str(output), "--fps", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert f"{lacks}: " in said.out
    weights, videos = sorted(said.err.splitlines(), key=len)
    assert weights == (
        f"FPS of {without_weights} was not measured: {without_weights} holds no checkpoints/best.ckpt or last.ckpt: "
        "give a checkpoint, or a run's folder"
    )
    assert videos.startswith(f"FPS of {moved} was not measured: the validation videos of {moved} can't be read")
    for measured in (lacks, another):
        speed = read_speed(measured)
        assert speed is not None
        assert speed.frames == 6
    assert (has / "fps.json").read_bytes() == before
    assert not (failed / "fps.json").exists()
    assert not (without_weights / "fps.json").exists()
