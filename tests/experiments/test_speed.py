"""Frames per second: what is timed, where it goes, and what stops it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from engine.tiny import TINY
from experiments.made_runs import made_speed, write_run
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from stmask.benchmarks.inference import STAGES, Contender, take_videos
from stmask.benchmarks.worker import Turns
from stmask.checkpoints import ModelCard, build_model, save_model
from stmask.cli import main
from stmask.config import compose
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.errors import ConfigError
from stmask.experiments import benchmark
from stmask.experiments.speed import PROCEDURE, read_speed, write_speed
from stmask.files import read_json, write_json
from stmask.ops.frames import FramePreprocessor
from stmask.structures import CroppedMasks, TrackedFrame


def video(frames: int, value: int = 0) -> list[npt.NDArray[np.uint8]]:
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
    ("lengths", "frames", "taken"),
    [
        ((5, 5), 7, [5, 2]),
        ((5, 5), 6, [5]),  # one frame has none to follow from
        ((1, 3), 2, [2]),
        ((60,), 40, [40]),
        ((3,), 5, [3]),
    ],
)
def test_no_more_frames_are_read_than_are_timed(lengths: tuple[int, ...], frames: int, taken: list[int]) -> None:
    videos = take_videos((video(n) for n in lengths), frames=frames, source="here")
    assert [len(one) for one in videos] == taken


def test_without_two_frames_in_a_row_there_is_nothing_to_time() -> None:
    with pytest.raises(ConfigError, match="here holds no video of two frames or more .* --frames-from"):
        take_videos([video(1), video(1)], frames=3, source="here")


def test_stages_are_parts_of_a_frame_and_the_first_frame_of_a_clip_is_not_timed(data: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", data)
    frames = next((data / "valid" / "JPEGImages").iterdir())
    contender = Contender(
        checkpoint=str(path), device="cpu", precision="float32", frames_from=str(frames), validated_by="", frames=3
    )
    answers = io.StringIO()
    turns = Turns(io.StringIO("4\n3\n0\n"), answers)  # four frames: the first one comes up every fourth time
    outcome = contender.serve(turns)
    assert len(turns.samples) == 7
    for sample in turns.samples:
        assert {"preprocessing", "network", "detection", "tracking", "masks"} <= set(sample.stages) <= set(STAGES)
        assert min(sample.stages.values()) >= 0
        assert sum(sample.stages.values()) == pytest.approx(sample.milliseconds, rel=0.2, abs=1.0)
    assert outcome.work.flops is not None
    assert outcome.work.flops > 1e6
    assert {"objects", "height", "width"} <= set(outcome.details)


@pytest.mark.parametrize("masks", [True, False])
def test_masks_are_timed_at_the_size_of_the_video(
    masks: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []

    def spied(tracked: TrackedFrame, size: tuple[int, int]) -> CroppedMasks:
        made.append(size)
        return real(tracked, size)

    real = TrackedFrame.cropped_masks_at
    monkeypatch.setattr(TrackedFrame, "cropped_masks_at", spied)
    for index in range(2):
        Image.fromarray(np.zeros((70, 110, 3), np.uint8)).save(tmp_path / f"{index}.png")
    shared = {"device": "cpu", "precision": "float32", "frames_from": str(tmp_path), "validated_by": "", "frames": 1}
    contender = Contender(checkpoint=str(save(tmp_path / "a.ckpt", data)), masks=masks, **shared)
    turns = Turns(io.StringIO("1\n0\n"), io.StringIO())
    contender.serve(turns)
    assert set(made) == ({(70, 110)} if masks else set())


def test_a_speed_is_kept_in_full_and_not_taken_from_another_procedure(tmp_path: Path) -> None:
    speed = made_speed(25.0)
    write_speed(tmp_path, speed)
    assert read_speed(tmp_path) == speed
    stored = read_json(tmp_path / "fps.json")
    assert stored["fps"] == pytest.approx(25.0)
    write_json(tmp_path / "fps.json", {**stored, "procedure": PROCEDURE + 1})
    assert read_speed(tmp_path) is None


# --- the command


def test_networks_side_by_side_and_a_run_keeps_its_speed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    save(run / "checkpoints" / "best.ckpt", data)
    other = save(tmp_path / "other" / "checkpoints" / "other.ckpt", data, "model/head=plain")
    out = tmp_path / "speed.json"
    arguments = [str(other), str(run), "--repeats", "4", "--device", "cpu", "--yardstick", "--json", str(out)]
    assert main(["benchmark", "inference", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "float32" in printed[0]
    assert printed[2].split()[:2] == ["inference", "ms"]
    assert "FPS" in printed[2].split()
    long = [line.split(": ", 1) for line in printed if line.startswith("(") and ": " in line]
    names = dict(reversed(long))  # a name is explained first, then used
    shown = [line.split()[0] for line in printed[3:5]]
    assert [names.get(name, name) for name in shown] == [str(other), str(run)]
    assert printed[3].endswith("1.00")
    kept = read_speed(run)
    assert kept is not None
    assert (kept.frames, kept.height, kept.width, kept.conditions.precision) == (4, 64, 96, "float32")
    results = json.loads(out.read_text())["results"]
    assert [result["name"] for result in results] == [str(other), str(run)]
    assert results[0]["yardstick_ms"] > 0
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "fps.json"]


def test_a_video_from_end_to_end(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = next((data / "valid" / "JPEGImages").iterdir())
    checkpoint = save(tmp_path / "a.ckpt", data)
    assert main(["benchmark", "predict", str(frames), str(checkpoint), "--repeats", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{stage} " in printed for stage in ("decoding", "network", "masks", "drawing", "encoding"))


def test_a_video_stands_in_for_data_that_is_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = next((data / "valid" / "JPEGImages").iterdir())
    checkpoint = save(tmp_path / "run" / "checkpoints" / "a.ckpt", tmp_path / "moved")
    command = ["benchmark", "inference", str(checkpoint), "--repeats", "2", "--precision", "bfloat16"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"the validation videos of {checkpoint} can't be read" in error
    assert "--frames-from" in error
    assert main([*command, "--frames-from", str(frames)]) == 0
    assert "bfloat16" in capsys.readouterr().out


def test_videos_side_by_side_are_timed_as_frames_of_one(data: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", data)
    frames = next((data / "valid" / "JPEGImages").iterdir())
    shared = {"device": "cpu", "precision": "float32", "frames_from": str(frames), "validated_by": "", "frames": 3}
    contender = Contender(checkpoint=str(path), videos=2, **shared)
    turns = Turns(io.StringIO("3\n0\n"), io.StringIO())
    outcome = contender.serve(turns)
    assert outcome.details["videos"] == 2
    for sample in turns.samples:
        assert {"preprocessing", "network", "detection", "tracking", "masks"} == set(sample.stages)
        assert sum(sample.stages.values()) == pytest.approx(sample.milliseconds, rel=0.2, abs=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bare.ckpt", "--videos", "0"], "--videos must be at least 1, got 0"),
        (["nowhere.ckpt"], "cannot read the checkpoint nowhere.ckpt"),
        (["."], "holds no checkpoints/best.ckpt or last.ckpt"),
        (["a.ckpt", "--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["bare.ckpt", "--precision", "int8"], "--precision must be one of float32, bfloat16, float16, got 'int8'"),
        (["bare.ckpt", "--device", "tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
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
    checkpoint = moved / "checkpoints" / "best.ckpt"
    assert videos.startswith(f"FPS of {moved} was not measured: the validation videos of {checkpoint} can't be read")
    for measured in (lacks, another):
        speed = read_speed(measured)
        assert speed is not None
        assert speed.frames == 6
    assert (has / "fps.json").read_bytes() == before
    assert not (failed / "fps.json").exists()
    assert not (without_weights / "fps.json").exists()
