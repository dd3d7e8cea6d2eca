"""The video that is written: sound, times of frames; and disks that are full in the middle."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from stmask.errors import OutputError
from stmask.inference.predict import predict_video
from stmask.inference.sinks import FORMATS, outputs_at
from stmask.inference.source import FrameRange, Moment
from stmask.inference.video import VideoReader
from stmask.structures import DenseMasks, Instances, TrackedFrame

RATE = 16000


class Corner:
    """Stands in for a segmenter: one object in every frame, its upper left quarter."""

    class_names = ("thing",)
    model = SimpleNamespace(card=None)

    def __init__(self) -> None:
        self.timings = {"network": 0.0}
        self._frames = 0

    def reset(self) -> None:
        self._frames = 0

    def step(self, image: np.ndarray) -> TrackedFrame:
        self._frames += 1
        mask = torch.zeros(1, 8, 8)
        mask[0, :4, :4] = 1
        found = Instances(
            torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([0.9]), torch.tensor([1]), DenseMasks(mask)
        )
        return TrackedFrame(self._frames - 1, found, torch.tensor([0]), torch.tensor([False]))


def encode(
    path: Path, *, seconds: float = 2.0, fps: int = 10, codec: str | None = "aac", milliseconds: Any = None
) -> Path:
    """A film of noise whose sound is silent but for a beep from 1 s to 1.1 s."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if milliseconds is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        sound: Any = None if codec is None else container.add_stream(codec, rate=RATE)
        count = round(seconds * fps) if milliseconds is None else len(milliseconds)
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[k], Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            wave = np.zeros((1, round(seconds * RATE)), dtype=np.float32)
            beep = np.arange(round(0.1 * RATE))
            wave[0, RATE : RATE + len(beep)] = 0.5 * np.sin(2 * np.pi * 1000 * beep / RATE)
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, 0, Fraction(1, RATE)
            kinds = {fmt.name for fmt in sound.codec_context.codec.audio_formats}
            resampler = av.AudioResampler("fltp" if "fltp" in kinds else "s16", "mono", RATE, frame_size=1024)
            for part in (*resampler.resample(samples), *resampler.resample(None)):
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    return path


def beep_in(path: Path) -> float:
    """When the beep begins, in seconds after the first frame is shown."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()[0].astype(np.float64))
            loud /= 1 if loud.max() <= 2 else 2**15
            if (loud > 0.1).any():
                return float(frame.time + np.argmax(loud > 0.1) / frame.sample_rate - first)
    raise AssertionError("no beep")


def times_in(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        found = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return [round(time - found[0], 3) for time in found]


def run(source: Path, output: Path, wanted: FrameRange | None = None, formats: Any = ("video",), **options: Any) -> Any:
    segmenter: Any = Corner()
    reader = VideoReader(source, wanted or FrameRange())
    return predict_video(segmenter, reader, outputs=outputs_at(output, list(formats)), **options)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_stays_where_it_was(tmp_path: Path, suffix: str) -> None:
    source = encode(tmp_path / "film.mp4")
    assert beep_in(source) == pytest.approx(1.0, abs=0.01)
    out = tmp_path / f"out{suffix}"
    run(source, out)
    assert beep_in(out) == pytest.approx(beep_in(source), abs=0.005)
    assert times_in(out) == times_in(source)


@pytest.mark.parametrize(
    ("wanted", "beep"),
    [
        (FrameRange(start=Moment(seconds=0.5)), 0.5),
        (FrameRange(start=Moment(frames=8), end=Moment(frames=15)), 0.2),
        (FrameRange(stride=3), 1.0),
    ],
)
def test_sound_begins_and_ends_with_what_was_read(tmp_path: Path, wanted: FrameRange, beep: float) -> None:
    source = encode(tmp_path / "film.mp4")
    out = tmp_path / "out.mp4"
    run(source, out, wanted)
    assert beep_in(out) == pytest.approx(beep, abs=0.01)
    with av.open(str(out)) as container:
        sound, video = container.streams.audio[0], container.streams.video[0]
        assert float(sound.duration * sound.time_base) <= float(video.duration * video.time_base) + 0.08


def test_sound_before_the_film_is_left_out(tmp_path: Path) -> None:
    source = encode(tmp_path / "late.mkv", milliseconds=[500 + 100 * k for k in range(15)])
    out = tmp_path / "out.mkv"
    run(source, out)
    assert beep_in(out) == pytest.approx(0.5, abs=0.01)


def test_sound_that_the_container_cannot_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = encode(tmp_path / "film.mkv", codec="pcm_s16le")
    run(source, tmp_path / "out.mkv")
    assert beep_in(tmp_path / "out.mkv") == pytest.approx(beep_in(source), abs=0.005)
    source = encode(tmp_path / "odd.mkv", codec="tta")
    run(source, tmp_path / "out.mp4")
    assert any("tta" in line and ".mkv takes it" in line for line in caplog.messages)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (len(container.streams.audio), len(container.streams.video)) == (0, 1)


def test_a_rate_of_ones_own_has_no_sound(tmp_path: Path) -> None:
    source = encode(tmp_path / "film.mp4")
    run(source, tmp_path / "out.mp4", fps=5.0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 0
        assert container.streams.video[0].average_rate == 5


UNEVEN = [0, 40, 80, 400, 440, 1000, 1040, 1500]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_times_are_kept(tmp_path: Path, suffix: str) -> None:
    source = encode(tmp_path / "film.mkv", milliseconds=UNEVEN, seconds=1.6)
    out = tmp_path / f"out{suffix}"
    run(source, out, formats=("video", "jsonl"))
    assert times_in(out) == pytest.approx([one / 1000 for one in UNEVEN], abs=0.0011)
    assert beep_in(out) == pytest.approx(1.0, abs=0.01)
    lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == [one / 1000 for one in UNEVEN]


def test_avi_has_a_constant_rate_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = encode(tmp_path / "film.mkv", milliseconds=UNEVEN, codec=None)
    run(source, tmp_path / "out.avi")
    assert len(times_in(tmp_path / "out.avi")) == len(UNEVEN)
    assert any("constant rate" in line for line in caplog.messages)


# ---------------------------------------------------------------- full disks


@pytest.fixture
def small_files() -> Iterator[Any]:
    """Files may grow to so many bytes only, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["jsonl", "csv", "mot", "mots"])
def test_a_full_disk_leaves_whole_frames(tmp_path: Path, small_files: Any, name: str) -> None:
    source = encode(tmp_path / "film.mkv", codec=None)
    (whole,) = outputs_at(tmp_path / "whole", [name]).values()
    run(source, tmp_path / "whole", formats=[name])
    wanted = whole.read_bytes()
    small_files(len(wanted) // 2)
    (place,) = outputs_at(tmp_path / "out", [name]).values()
    with pytest.raises(
        OutputError, match=r"cannot write .*out.*: File too large; the frames until then are in .*"
    ) as e:
        run(source, tmp_path / "out", formats=[name])
    partial = place.with_name(f"{place.stem}.partial{place.suffix}")
    assert str(partial) in str(e.value)
    found = partial.read_bytes()
    assert wanted.startswith(found)
    assert len(wanted) / 3 < len(found) <= len(wanted) / 2
    assert found.endswith(b"\n")
    assert not place.exists()
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_leaves_a_video_and_the_tracks_until_then(tmp_path: Path, small_files: Any, suffix: str) -> None:
    source = encode(tmp_path / "film.mkv", codec=None, seconds=20.0)
    out = tmp_path / f"out{suffix}"
    run(source, out)
    before = out.read_bytes()
    small_files(len(before) // 4)
    with pytest.raises(OutputError, match=rf"cannot write .*/out{suffix}: File too large; the frames until then "):
        run(source, out, formats=("video", "json"))
    assert out.read_bytes() == before  # the older one
    count = 0
    with av.open(str(tmp_path / f"out.partial{suffix}")) as container:
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.error.InvalidDataError:  # in its last packet
            pass
    assert count > 5
    tracks = json.loads((tmp_path / "out.partial.json").read_text())
    assert 5 < len(tracks[0]["segmentations"]) < 200
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("name", ["coco", "masks", "crops"])
def test_a_full_disk_leaves_what_is_in_a_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = encode(tmp_path / "film.mkv", codec=None)
    kind = type(FORMATS[name].open(made(tmp_path / "probe"), named()))
    write, count = kind.write, 0

    def failing(self: Any, frame: Any) -> None:
        nonlocal count
        count += 1
        if count > 7:
            raise OSError(28, "No space left on device")
        write(self, frame)

    monkeypatch.setattr(kind, "write", failing)
    with pytest.raises(
        OutputError, match=rf"cannot write .*out_{name}: No space left on device; the frames until then"
    ):
        run(source, tmp_path / "out", formats=[name])
    partial = tmp_path / f"out_{name}.partial"
    pictures = [path for path in partial.rglob("*.*g") if path.is_file()]
    assert len(pictures) == 7
    index = {"coco": "labels.json", "masks": "meta.json", "crops": "crops.csv"}[name]
    assert (partial / index).stat().st_size > 0
    assert not (tmp_path / f"out_{name}").exists()


def made(path: Path) -> Path:
    path.mkdir()
    return path


def named() -> Any:
    class Named:
        name = "clip"

    return Named()
