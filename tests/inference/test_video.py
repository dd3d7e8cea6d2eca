from __future__ import annotations

import logging
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
import pytest

from stmask.data.images import read_image
from stmask.errors import DataError, OutputError
from stmask.inference.video import FOLDER_FPS, VideoReader, VideoWriter

COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)], dtype=np.uint8)


def clip(frames: int = 4, height: int = 48, width: int = 64) -> np.ndarray:
    """Plain frames of one colour each, (T, H, W, 3)."""
    return np.repeat(np.repeat(COLOURS[np.arange(frames) % 4][:, None, None], height, axis=1), width, axis=2)


def write(path: Path, frames: np.ndarray, fps: float = 12.5) -> Path:
    with VideoWriter(path, fps=fps, size=frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_until_failure(path: Path) -> None:
    """The second frame has a size that the writer refuses."""
    with VideoWriter(path, fps=5, size=(48, 64)) as writer:
        writer.write(clip()[0])
        writer.write(clip(height=50)[0])


def write_images(folder: Path, frames: np.ndarray, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for frame, name in zip(frames, names, strict=True):
        cv2.imwrite(str(folder / name), frame[..., ::-1])
    return folder


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (720, 64)])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, height: int, width: int) -> None:
    frames = clip(height=height, width=width)
    reader = VideoReader(write(tmp_path / f"v{suffix}", frames))
    assert reader.fps == pytest.approx(12.5)
    assert reader.length in (4, None)
    for _ in range(2):  # may be read repeatedly
        read = np.stack(list(reader))
        assert read.dtype == np.uint8
        assert read.shape == frames.shape
        assert np.abs(read.astype(int) - frames).max() <= 12


@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes_get_one_more_row_or_column(tmp_path: Path, height: int, width: int) -> None:
    read = list(VideoReader(write(tmp_path / "v.mp4", clip(height=height, width=width))))
    assert read[0].shape == (48, 64, 3)
    assert len(read) == 4


def test_the_file_can_be_played_anywhere(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "v.mp4", clip(), fps=30000 / 1001))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(30000 / 1001)


def test_a_failed_run_leaves_no_file_and_keeps_an_older_one(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", clip())
    before = path.read_bytes()
    for name in ("v.mp4", "new.mp4"):
        with pytest.raises(ValueError, match="shape"):
            write_until_failure(tmp_path / name)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_the_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.txt.*\.mp4"):
        VideoWriter(tmp_path / "out.txt", fps=5, size=(48, 64))
    with pytest.raises(OutputError, match="16386 x 64 is more than the 16384 pixels"):
        VideoWriter(tmp_path / "v.mp4", fps=5, size=(16386, 64))
    with pytest.raises(ValueError, match="fps"):
        VideoWriter(tmp_path / "v.mp4", fps=0, size=(48, 64))
    with pytest.raises(ValueError, match="with"):
        VideoWriter(tmp_path / "v.mp4", fps=5, size=(48, 64)).write(clip()[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/v\.mp4"), VideoWriter(tmp_path / "file/v.mp4", fps=5, size=(48, 64)):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", clip(), ["f10.png", "f2.jpg", "f1.PNG", "f03.jpeg"])
    (folder / "notes.txt").write_text("not a frame")
    (folder / "f0.png").mkdir()
    reader = VideoReader(folder)
    assert (reader.length, reader.fps) == (4, FOLDER_FPS)
    read = np.stack(list(reader))
    assert np.abs(read.astype(int) - clip()[[2, 1, 3, 0]]).max() <= 6


def test_hidden_and_other_files_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_images(tmp_path / "frames", clip(2), ["0.png", "1.png"])
    (folder / "._0.png").write_bytes(b"\0\5\26\7")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "film.mp4").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        assert len(list(VideoReader(folder))) == 2
    assert "files that are not images are left out: 2" in caplog.text


def test_a_photo_with_a_film_behind_it_is_a_photo(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", clip(1), ["0.jpg"])
    film = write(tmp_path / "v.mp4", clip()).read_bytes()
    (folder / "0.jpg").write_bytes((folder / "0.jpg").read_bytes() + film)
    assert len(list(VideoReader(folder))) == len(list(VideoReader(folder / "0.jpg"))) == 1


def test_a_photo_lies_as_training_reads_it(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(clip(1)[0])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "0.jpg", exif=exif)
    np.testing.assert_array_equal(next(iter(VideoReader(tmp_path))), read_image(tmp_path / "0.jpg"))


# ---------------------------------------------------------------- bad input


def test_missing_and_unreadable_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such video.*nothing\.mp4"):
        VideoReader(tmp_path / "nothing.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all")
    with pytest.raises(DataError, match=r"text\.mp4 as a video"):
        VideoReader(text)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no frames in .*empty, expected images"):
        VideoReader(tmp_path / "empty")
    (tmp_path / "above").mkdir()
    write_images(tmp_path / "above" / "video", clip(1), ["0.png"])
    with pytest.raises(DataError, match=r"no frames in .*above, but in the folder video in it: give that one"):
        VideoReader(tmp_path / "above")
    with pytest.raises(DataError, match=r"no frames in .*, but videos: give one at a time, as text\.mp4"):
        VideoReader(tmp_path)


def test_a_file_without_a_video_stream_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"sound\.wav holds no video"):
        VideoReader(path)


@pytest.mark.parametrize("packet", range(6))
def test_a_broken_frame_of_a_file_is_named(tmp_path: Path, packet: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    path = write(tmp_path / "v.mp4", noise)
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux() if p.size]
    start, size = places[packet]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"v\.mp4 near frame [0-5]: .*ffmpeg -i"):
        list(VideoReader(path))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"v\.mp4 as a video"):
        VideoReader(path)


def test_a_broken_frame_of_a_folder_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", clip(), ["0.jpg", "1.jpg", "2.jpg", "3.jpg"])
    whole = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2\.jpg"):
        list(VideoReader(folder))


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", clip(), ["0.png", "1.png", "2.png", "3.png"])
    write_images(folder, clip(1, height=50), ["2.png"])
    with pytest.raises(DataError, match=r"2\.png is 50 x 64.*48 x 64"):  # before any work
        VideoReader(folder)
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    PIL.Image.fromarray(clip(1)[0]).save(folder / "2.png", exif=turned)
    with pytest.raises(DataError, match=r"2\.png is 64 x 48.*48 x 64"):
        VideoReader(folder)


def test_two_files_for_one_frame_are_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", clip(), ["0.jpg", "1.jpg", "0.png", "1.png"])
    with pytest.raises(DataError, match=r"holds 0\.jpg and 0\.png: which are the frames"):
        VideoReader(folder)
