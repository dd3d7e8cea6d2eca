"""`stmask data frames`."""

from __future__ import annotations

import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from inference.films import encode, noise

from stmask.cli import main
from stmask.inference.video import VideoReader


def grey(path: Path, frames: int = 12) -> Path:
    """Frame k is 10 k everywhere, 10 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        for k in range(frames):
            image = np.full((16, 24, 3), 10 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], list(range(12))),
        (["--every=5"], [0, 5, 10]),
        (["--every=5", "--start=1f", "--png"], [1, 6, 11]),
        (["--start=0.5s", "--end=0.8s", "--quality=80"], [5, 6, 7]),
    ],
)
def test_frames_are_named_by_their_number(
    tmp_path: Path, options: list[str], numbers: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "frames"
    assert main(["data", "frames", str(grey(tmp_path / "v.mp4")), str(folder), *options]) == 0
    suffix = ".png" if "--png" in options else ".jpg"
    assert sorted(path.name for path in folder.iterdir()) == [f"{k:05d}{suffix}" for k in numbers]
    for k in numbers:
        image = cv2.imread(str(folder / f"{k:05d}{suffix}"))
        assert image.shape == (16, 24, 3)
        assert abs(image.astype(int) - 10 * k).max() <= 3
    assert capsys.readouterr().out == f"{folder}\n"
    assert len(list(VideoReader(folder))) == len(numbers)


def test_frames_are_upright_and_in_colour(tmp_path: Path) -> None:
    assert main(["data", "frames", str(encode(tmp_path / "v.mp4", 1)), str(tmp_path / "f")]) == 0
    image = cv2.imread(str(tmp_path / "f" / "00000.jpg"))
    assert abs(image[8, 12].astype(int) - [20, 20, 230]).max() < 25  # red, as OpenCV has it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{v} {full}", "full exists already and is not an empty folder: give another name"),
        ("{v} {v}", "v.mp4 exists already and is not an empty folder"),
        ("{v} {v}/frames", "cannot write .*v.mp4/frames"),
        ("{v} {link}", "link is a link"),
        ("{full}/no.mp4 {new}", "no such video"),
        ("{full}/note.txt {new}", "it is a text"),
        ("{v} {new} --start=5", "--start=5 is not a place in a video"),
        ("{v} {new} --start=9s", "none of them is chosen by start=9s"),
        ("{v} {new} --every=0", "--every must be at least 1"),
        ("{v} {new} --quality=101", "--quality 1 to 100"),
        ("{v}", "the following arguments are required: FOLDER"),
    ],
)
def test_what_cannot_work_leaves_everything_as_it_is(
    tmp_path: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "v": grey(tmp_path / "v.mp4", 3),
        "full": tmp_path / "full",
        "link": tmp_path / "link",
        "new": tmp_path / "new",
    }
    places["full"].mkdir()
    places["link"].symlink_to(tmp_path / "elsewhere")
    (places["full"] / "note.txt").write_text("mine\n")
    assert main(["data", "frames", *arguments.format(**places).split(" ")]) == 2
    error = capsys.readouterr().err
    assert error.count("stmask: error:") == 1
    assert re.search(message, error)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "link", "note.txt", "v.mp4"]
    assert (places["full"] / "note.txt").read_text() == "mine\n"


def test_a_video_that_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    video = noise(tmp_path / "v.mp4")
    data = bytearray(video.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    video.write_bytes(data)
    assert main(["data", "frames", str(video), str(tmp_path / "f")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]
