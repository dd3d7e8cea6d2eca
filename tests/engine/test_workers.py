"""An evaluation that several processes share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.runs import fit as fit_videos
from engine.test_images import fit as fit_images
from engine.test_images import images as images  # a fixture

from stmask.cli import main
from stmask.data import VideoClips, VideoDataset
from stmask.engine.evaluate import _devices
from stmask.engine.workers import Work, run_all
from stmask.errors import ConfigError, DataError, StmaskError
from stmask.tasks import Item, Videos

CPU = torch.device("cpu")


class Counting(Videos):
    """A task of made results, for tests of the processes alone."""

    def run(self, segmenter: Any, items: Any, *, batch: int = 1, on_frame: Any = None) -> Any:
        for item in items:
            for _ in item:
                on_frame()
            segmenter(item)
            yield item, item.video_id

    def entries(self, result: Any, category_ids: Any) -> list[dict[str, Any]]:
        return [{"video_id": result, "process": os.getpid()}]


def _nothing(item: Item) -> None:
    pass


def _ends(item: Item, *, how: int) -> None:
    if item.video_id == 2:
        os.kill(os.getpid(), how)


def _raises(item: Item) -> None:
    if item.video_id == 2:
        raise {"_": ZeroDivisionError("of a network")}["_"]


def _make(what: Any, *, device: torch.device) -> Any:
    return what


def work(split: VideoDataset, what: Any) -> Work:
    return Work(Counting(), VideoClips(split), (1,), segmenter=partial(_make, what))


@pytest.fixture(scope="module")
def split(dataset: Path) -> VideoDataset:
    return VideoDataset(dataset / "train.json", dataset / "train" / "JPEGImages")  # four videos


@pytest.mark.slow
def test_items_come_in_their_order_from_all_processes(split: VideoDataset) -> None:
    frames: list[int] = []
    entries, whole, each = run_all(work(split, _nothing), [CPU] * 3, on_frame=lambda: frames.append(1))
    assert len(each) == 4
    assert all(0 < seconds <= whole for seconds in each)
    assert [entry["video_id"] for entry in entries] == split.index.video_ids.tolist()
    assert os.getpid() not in {entry["process"] for entry in entries}
    assert len(frames) == sum(split.length(index) for index in range(4))


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_here(split: VideoDataset, tmp_path: Path) -> None:
    def run(what: Any, videos: VideoDataset = split) -> None:
        run_all(work(videos, what), [CPU] * 2, on_frame=lambda: None)

    with pytest.raises(StmaskError, match=r"process [12] of 2 was killed by SIGKILL, so nothing is written"):
        run(partial(_ends, how=signal.SIGKILL))
    with pytest.raises(ZeroDivisionError, match="of a network") as caught:
        run(_raises)
    assert "in _raises" in str(caught.value.__cause__)
    with pytest.raises(DataError, match="no such frame"):
        run(_nothing, VideoDataset(split.annotations_path, tmp_path))


@pytest.mark.slow
def test_processes_do_not_outlive_the_one_that_started_them(split: VideoDataset, tmp_path: Path) -> None:
    lines = [
        "import sys, time; from functools import partial; from pathlib import Path; import torch",
        "from engine.test_workers import CPU, work, write_and_wait; from engine import test_workers",
        "from stmask.data import VideoDataset; from stmask.engine.workers import run_all",
        f"split = VideoDataset({str(split.annotations_path)!r}, {str(split.frames_path)!r})",
        f"what = partial(write_and_wait, folder=Path({str(tmp_path)!r}))",
        "if __name__ == '__main__': run_all(work(split, what), [CPU] * 2, on_frame=lambda: None)",
    ]
    (tmp_path / "script.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], env=environment)
    started = _wait_for(lambda: [int(file.stem) for file in tmp_path.glob("*.pid")], number=2)
    process.kill()
    process.wait()
    assert _wait_for(lambda: [pid for pid in started if not _alive(pid)], number=2)


def write_and_wait(item: Item, *, folder: Path) -> None:
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)


def _wait_for(found: Any, *, number: int) -> list[int]:
    until = time.monotonic() + 60
    while len(now := found()) < number:
        assert time.monotonic() < until, now
        time.sleep(0.1)
    return list(now)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- the command


def measured(folder: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    assert metrics.pop("seconds") > 0
    assert metrics.pop("frames_per_second") > 0
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["videos", "images"])
def test_two_processes_write_what_one_does(
    kind: str, dataset: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an odd number of items: three videos, or five images."""
    root, fit, items = (dataset, fit_videos, 3) if kind == "videos" else (images, fit_images, 5)
    fit(root, tmp_path / "run", "trainer.max_steps=2", "scheduler.total_steps=12")
    document = json.loads((root / "train.json").read_text())
    kept = {item["id"] for item in document[kind][:items]}
    document[kind] = document[kind][:items][::-1]
    key = "video_id" if kind == "videos" else "image_id"
    document["annotations"] = [entry for entry in document["annotations"] if entry[key] in kept]
    (tmp_path / "odd.json").write_text(json.dumps(document))
    words = [
        *("evaluate", f"checkpoint={tmp_path / 'run/checkpoints/last.ckpt'}", "model.detector.score_threshold=0.02"),
        *(f"data.valid_annotations={tmp_path / 'odd.json'}", f"data.valid_frames={root / 'train/JPEGImages'}"),
    ]
    printed = []
    for devices in (1, 2):
        assert main([*words, f"devices={devices}", "device=cpu", f"output={tmp_path / str(devices)}"]) == 0
        printed.append(capsys.readouterr().out.split(" frames per second")[0].rpartition(",")[0])
    assert printed[0] == printed[1]
    assert f"{items} {kind}" in printed[0]
    assert (tmp_path / "1/results.json").read_bytes() == (tmp_path / "2/results.json").read_bytes()
    assert len(json.loads((tmp_path / "1/results.json").read_text())) > items
    assert measured(tmp_path / "1") == measured(tmp_path / "2")


@pytest.mark.slow
def test_a_process_that_fails_leaves_no_results(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_videos(dataset, tmp_path / "run", "trainer.max_steps=1", "scheduler.total_steps=12", "data.valid=null")
    frames = tmp_path / "frames"
    for video in json.loads((dataset / "train.json").read_text())["videos"]:
        for name in video["file_names"]:
            (frames / name).parent.mkdir(parents=True, exist_ok=True)
            (frames / name).symlink_to(dataset / "train/JPEGImages" / name)
    (frames / name).unlink()  # the last frame of the last video
    words = [
        *("evaluate", f"checkpoint={tmp_path / 'run/checkpoints/last.ckpt'}", "devices=2", "device=cpu"),
        *(f"data.valid_annotations={dataset / 'train.json'}", f"data.valid_frames={frames}", "split=valid"),
    ]
    assert main([*words, f"output={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert f"no such frame: {frames / name}" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out/results.json").exists()


def test_devices_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _devices("cpu", 3) == [CPU] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _devices("auto", 2) == [torch.device("cuda", 0), torch.device("cuda", 1)]
    for device, number, message in (
        ("cuda:1", 2, "device=cuda:1 is one GPU, devices=2 wants 2: give device=cuda"),
        ("auto", 3, "device=cuda:2: this machine has 2 GPUs"),
    ):
        with pytest.raises(ConfigError, match=message):
            _devices(device, number)
