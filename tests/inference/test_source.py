"""Which frames of a video are read, and when they come."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from inference.films import encode

from stmask.errors import ConfigError, DataError
from stmask.inference.source import FrameRange, Moment
from stmask.inference.video import VideoReader

TIMES = (0.0, 0.1, 0.2, 0.7, 0.8, 0.9, 1.0, 1.1)  # one gap


def moment(text: str | None) -> Moment | None:
    return None if text is None else Moment.parse(text, key="start")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return encode(path, milliseconds=[500 + round(1000 * time) for time in TIMES])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for k in range(8):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((8, 12, 3), 10 * k, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("text", "seconds", "frames"),
    [
        ("12s", 12, None),
        ("12.5s", 12.5, None),
        (".5s", 0.5, None),
        ("1:30", 90, None),
        ("1:02:03.5", 3723.5, None),
        ("300f", None, 300),
        ("0f", None, 0),
    ],
)
def test_a_place_is_a_time_or_a_frame(text: str, seconds: float | None, frames: int | None) -> None:
    assert Moment.parse(text, key="start") == Moment(seconds, frames)


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "1e3s", "s", "f", "1.5f", "1:2:3:4", "nan", "5m", "٣s"])
def test_a_number_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^end={text} is not a place in a video; give end="):
        Moment.parse(text, key="end")


Choice = tuple[int, str | None, str | None, int | None, list[int]]
CHOICES: list[Choice] = [
    (1, None, None, None, [0, 1, 2, 3, 4, 5, 6, 7]),
    (3, None, None, None, [0, 3, 6]),
    (3, "1f", None, None, [1, 4, 7]),
    (1, "2f", "5f", None, [2, 3, 4]),
    (1, None, None, 3, [0, 1, 2]),
    (2, "1f", "7f", 2, [1, 3]),
]
BY_TIME: list[Choice] = [
    (1, "0.5s", None, None, [3, 4, 5, 6, 7]),
    (1, "0.7s", "1s", None, [3, 4, 5]),
    (2, "0:00.3", "6f", None, [3, 5]),
]


@pytest.mark.parametrize(("stride", "start", "end", "most", "chosen"), CHOICES + BY_TIME)
def test_the_chosen_frames_of_a_film(
    film: Path, stride: int, start: str | None, end: str | None, most: int | None, chosen: list[int]
) -> None:
    reader = VideoReader(film, FrameRange(stride, moment(start), moment(end), most))
    for _ in range(2):
        frames = list(reader.frames())
        assert [frame.index for frame in frames] == chosen
        assert [float(frame.time) for frame in frames] == pytest.approx([TIMES[k] for k in chosen])
    assert reader.length == len(chosen)
    assert reader.fps == pytest.approx(VideoReader(film).fps / stride)


@pytest.mark.parametrize(("stride", "start", "end", "most", "chosen"), CHOICES)
def test_the_chosen_images_of_a_folder(
    images: Path, stride: int, start: str | None, end: str | None, most: int | None, chosen: list[int]
) -> None:
    reader = VideoReader(images, FrameRange(stride, moment(start), moment(end), most))
    assert [frame.index for frame in reader.frames()] == chosen
    assert [int(image[0, 0, 0]) for image in reader] == [10 * k for k in chosen]
    assert (reader.length, reader.fps) == (len(chosen), 10 / stride)


def test_images_have_no_times(images: Path) -> None:
    with pytest.raises(ConfigError, match="images have no times; count frames, as in start=30f"):
        VideoReader(images, FrameRange(start=moment("1s")))


def test_a_range_of_nothing_is_refused(film: Path) -> None:
    with pytest.raises(DataError, match=r"film\.mp4 has 8 frames, the last at 1\.1 s: none .* chosen by start=2s"):
        VideoReader(film, FrameRange(start=moment("2s")))
    with pytest.raises(ConfigError, match="stride is a number of frames and must be at least 1, got 0"):
        FrameRange(stride=0)
    with pytest.raises(ConfigError, match="max_frames is a number of frames and must be at least 1, got 0"):
        FrameRange(max_frames=0)
    for start, end in (("5s", "5s"), ("9f", "2f"), ("1:00", "59s")):
        with pytest.raises(ConfigError, match="must be after start="):
            FrameRange(start=moment(start), end=moment(end))


def test_a_source_is_stopped_before_its_next_frame(film: Path, images: Path) -> None:
    for reader in (VideoReader(film), VideoReader(images)):
        frames = reader.frames()
        assert next(frames).index == 0
        reader.stop()
        assert list(frames) == []
