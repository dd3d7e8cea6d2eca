"""Video files as people have them: covers, playlists, odd times, turned and cut off."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from inference.films import HEIGHT, WIDTH, encode, picture

from stmask.errors import DataError
from stmask.inference.video import VideoReader, VideoWriter


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """film.mp4 and film.mov of 8 frames, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("films")
    for suffix in ("mp4", "mov"):
        encode(folder / f"film.{suffix}")
    return folder


# ---------------------------------------------------------------- which stream


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_cover(film: Path, path: Path) -> Path:
    """As music shops and screen recorders put a picture into an MP4."""
    jpeg = cv2.imencode(".jpg", np.full((80, 80, 3), 200, np.uint8))[1].tobytes()
    cover = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + jpeg))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    user = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    data = film.read_bytes()
    at = data.rindex(b"moov")  # the last box of the file
    (size,) = struct.unpack(">I", data[at - 4 : at])
    path.write_bytes(data[: at - 4] + struct.pack(">I", size + len(user)) + b"moov" + user + data[at + 4 :])
    return path


def two_films(path: Path, sizes: Sequence[tuple[int, int]], frames: Sequence[int] = (8, 8)) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for size in sizes:
            stream: Any = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            streams.append(stream)
        for stream, size, count in zip(streams, sizes, frames, strict=True):
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(size), format="rgb24")))
            container.mux(stream.encode(None))
    return path


def test_a_cover_is_not_the_film(films: Path, tmp_path: Path) -> None:
    reader = VideoReader(with_cover(films / "film.mp4", tmp_path / "cover.mp4"))
    assert [frame.shape for frame in reader] == [(HEIGHT, WIDTH, 3)] * 8
    mkv = two_films(
        tmp_path / "cover.mkv", [(80, 80), (HEIGHT, WIDTH)], (1, 8)
    )  # there a cover is a stream like others
    assert [frame.shape for frame in VideoReader(mkv)] == [(HEIGHT, WIDTH, 3)] * 8


def test_of_several_films_it_is_said_which_one_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = two_films(tmp_path / "two.mp4", [(HEIGHT, WIDTH), (16, 24)])
    with caplog.at_level(logging.WARNING):
        shape = next(iter(VideoReader(path))).shape
    assert shape == (HEIGHT, WIDTH, 3)
    assert "two.mp4 holds 2 videos: stream 0 (h264, 48 x 32) is read, not stream 1 (h264, 24 x 16)" in caplog.text


def test_sound_with_a_cover_holds_no_video(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
    apic = b"\0image/jpeg\0\3\0" + jpeg
    size = len(apic) + 10
    header = b"ID3\3\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    frame = bytes.fromhex("fffb9064") + bytes(413)
    path = tmp_path / "song.mp3"
    path.write_bytes(header + b"APIC" + struct.pack(">IH", len(apic), 0) + apic + 20 * frame)
    with pytest.raises(DataError, match=r"song\.mp3 holds no video but a picture"):
        VideoReader(path)


# ---------------------------------------------------------------- what is not a video

PLAYLISTS = {
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "script of FFmpeg": "ffconcat version 1.0\nfile film.mp4\n",
    "manifest": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    '<AdaptationSet><Representation id="0"><BaseURL>film.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "description of a stream": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5 RTP/AVP 96\n",
    "drawing": '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="film.mp4"/></svg>',
    "web page": "<!DOCTYPE html>\n<html><body>404</body></html>",
    "subtitles": "[Script Info]\nScriptType: v4.00+\n\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,x\n",
    "a text": '{"videos": []}' + "\n" * 3000,
    "Git LFS": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_what_names_other_files_is_refused_whatever_it_is_called(
    films: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    (tmp_path / "film.mp4").symlink_to(films / "film.mp4")
    path = tmp_path / f"it{suffix}"
    path.write_text(PLAYLISTS[kind])
    with pytest.raises(DataError, match=rf"it\{suffix} as a video: .*{kind}"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("\n #EXTM3U\nfilm.mp4".encode("utf-16"), "it is a playlist"),
        ("film.mp4".encode("utf-32"), "it is a text"),
        (b"BZh91AY&SY\0", "it is an archive"),
        (b"film.mp4".ljust(257, b"\0") + b"ustar\0", "it is an archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is a picture"),
        (bytes(5000), "it is nothing but zeros at its start"),
        (b"\1\2\3" * 99, "FFmpeg finds no video format in it"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "it.mp4").write_bytes(content)
    with pytest.raises(DataError, match=rf"it\.mp4 as a video: {kind}"):
        VideoReader(tmp_path / "it.mp4")


def test_a_picture_is_told_from_a_film(tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    path.write_bytes(cv2.imencode(".png", picture())[1].tobytes())
    with pytest.raises(DataError, match=r"picture\.mp4 as a video: it is a picture"):
        VideoReader(path)
    reader = VideoReader(path.rename(tmp_path / "picture.png"))
    assert [frame.shape for frame in reader] == [(HEIGHT, WIDTH, 3)]


def test_a_movie_whose_frames_are_in_another_file_reads_nothing_there(films: Path, tmp_path: Path) -> None:
    """QuickTime's references to other files, by an absolute path."""
    target = str(films / "film.mp4").encode()
    alias = bytes(10) + b"\4disk".ljust(28, b"\0") + bytes(12) + b"\x08film.mp4".ljust(64, b"\0") + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16) + struct.pack(">hH", 2, len(target)) + target
    reference = bytes(4) + struct.pack(">I", 1) + box(b"alis", bytes(4) + alias + b"\xff\xff\0\0")

    def changed(data: bytes) -> bytes:
        out = b""
        while data:
            size, kind = struct.unpack(">I4s", data[:8])
            content, data = data[8:size], data[size:]
            inner = kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf")
            out += box(kind, reference if kind == b"dref" else changed(content) if inner else content)
        return out

    path = tmp_path / "refers.mov"
    path.write_bytes(changed((films / "film.mov").read_bytes()))
    with pytest.raises(DataError, match=r"refers\.mov holds no frames"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rtsp://user:secret@camera/live?token=secret", "rtsp: an address is not a local file or folder"),
        ("https://user:secret@host/film.mp4", "https: an address is not a local"),
        ("concat:film.mp4|secret", "no such video or folder of frames: concat:"),
        ("subfile,,start,0,end,9,,:film.mp4", "no such video or folder of frames: subfile"),
        ("frames/%05d.png", "no such video"),
        ("/dev/null", "a device or a pipe"),
        ("x" * 300, "no such video .*File name too long"),
        ("nul\0", "no such video"),
    ],
)
def test_only_local_files_are_opened(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        VideoReader(source)
    assert "secret" not in str(refused.value) or "//" not in source


@pytest.mark.parametrize(
    "name", ["concat:a|b.mp4", "%05d.mp4", "a=b, c.mp4", "tasse à café.mp4", "-y.mp4", "d\udcff.mp4"]
)
def test_any_name_is_a_name(films: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((films / "film.mp4").read_bytes())
    assert len(list(VideoReader(name))) == 8
    with VideoWriter(f"out {name}", fps=5, size=(HEIGHT, WIDTH)) as writer:
        writer.write(picture())
    assert len(list(VideoReader(f"out {name}"))) == 1


# ---------------------------------------------------------------- cut off


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
def test_a_film_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}  # else nothing can be read of it at all
    noise = lambda stream: setattr(stream.codec_context, "options", {"qp": "0", "g": "1"})  # noqa: E731
    path = encode(tmp_path / f"film.{suffix}", 40, rate=25, prepare=noise, options=options)
    assert VideoReader(path).length == 40
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=rf"film\.{suffix}") as refused:
        VideoReader(path)
    if share >= 0.5:
        assert "frames" in str(refused.value)
        assert "of the 40" in str(refused.value)


def test_sound_that_outlasts_the_film_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for _ in range(8):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 40000), dtype=np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    assert VideoReader(path).length == 8


# ---------------------------------------------------------------- times


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return float(max((p.pts + p.duration) * stream.time_base for p in container.demux(stream) if p.size))


SLOWING = [*range(0, 1000, 33), *range(1000, 3000, 200)]  # 30 frames per second, then 5


@pytest.mark.parametrize(
    ("suffix", "rate"), [("mp4", 30), ("mov", 1000), ("mkv", 30), ("mkv", 1000), ("mkv", 90000), ("webm", 1000)]
)
def test_a_film_of_varying_rate_keeps_its_length(
    tmp_path: Path, suffix: str, rate: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever rate the header states: of browsers' recorders it is the unit of time."""
    codec = "libvpx" if suffix == "webm" else "libx264"
    path = encode(tmp_path / f"film.{suffix}", rate=rate, milliseconds=SLOWING, codec=codec)
    with caplog.at_level(logging.WARNING):
        reader = VideoReader(path)
    assert "frame 32 comes 0.2 s after the one before it, most come after 0.033 s" in caplog.text
    assert reader.length == len(SLOWING)
    assert len(SLOWING) / reader.fps == pytest.approx(3.0, abs=0.21)
    with VideoWriter(tmp_path / "out.mp4", fps=reader.fps, size=(HEIGHT, WIDTH)) as writer:
        for frame in reader:
            writer.write(frame)
    assert seconds(tmp_path / "out.mp4") == pytest.approx(len(SLOWING) / reader.fps, abs=0.01)


_NTSC = Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        ("mp4", "libx264", _NTSC),
        ("mkv", "libx264", _NTSC),
        ("webm", "libvpx", _NTSC),
        ("avi", "mpeg4", _NTSC),
        ("ts", "mpeg2video", _NTSC),
        ("mp4", "libx264", Fraction(240)),
        ("mkv", "libx264", Fraction(1)),
        ("webm", "libvpx", Fraction(30000, 1001)),
    ],
)
def test_a_rate_that_is_right_stays_exact(
    tmp_path: Path, suffix: str, codec: str, rate: Fraction, caplog: pytest.LogCaptureFixture
) -> None:
    reader = VideoReader(encode(tmp_path / f"film.{suffix}", 12, rate=rate, codec=codec))
    assert Fraction(reader.fps).limit_denominator(1001) == rate
    assert len(list(reader)) == 12
    assert not caplog.records


@pytest.mark.parametrize(("start", "length", "frames"), [(0, 1500, 15), (1, 2000, 20), (1, 1000, 10)])
def test_a_trimmed_film_keeps_its_rate(tmp_path: Path, start: int, length: int, frames: int) -> None:
    """Phones leave what is cut away in the file, with an edit list (start in seconds, length in ms) that hides it."""
    path = encode(tmp_path / "film.mp4", 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    (first,) = struct.unpack_from(">i", data, at + 4)
    struct.pack_into(">Ii", data, at, length, first + start * 10240)
    path.write_bytes(data)
    reader = VideoReader(path)
    assert (reader.fps, reader.length, len(list(reader))) == (10, frames, frames)


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv"])
def test_one_frame_is_a_film(tmp_path: Path, suffix: str) -> None:
    """Of a transport stream FFmpeg has to guess the rate, which it can't after the file's end."""
    reader = VideoReader(encode(tmp_path / f"film.{suffix}", 1))
    assert (reader.length, len(list(reader))) == (1, 1)
    assert 10 <= reader.fps <= 25


def test_bare_frames_have_the_usual_rate(tmp_path: Path) -> None:
    reader = VideoReader(encode(tmp_path / "film.h264", 10, format="h264"))
    assert (reader.fps, len(list(reader))) == (25.0, 10)


def test_an_animation_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """A GIF does not state its length, but it marks its end."""
    path = encode(tmp_path / "film.gif", codec="gif", pix_fmt="rgb8")
    data = path.read_bytes()
    path.write_bytes(data + b"\r\n\0")
    assert VideoReader(path).length == 8
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"film\.gif .*"):
            VideoReader(path)


# ---------------------------------------------------------------- shape

# a, b, c, d of the display matrix (x to a x + c y, y to b x + d y), and where the red corner is then
TURNS = {
    "upright": ((1, 0, 0, 1), "top left"),
    "quarter clockwise": ((0, 1, -1, 0), "top right"),
    "half": ((-1, 0, 0, -1), "bottom right"),
    "quarter anticlockwise": ((0, -1, 1, 0), "bottom left"),
    "mirrored": ((-1, 0, 0, 1), "top right"),
    "upside down": ((1, 0, 0, -1), "bottom left"),
    "mirrored and turned": ((0, 1, 1, 0), "top left"),
    "mirrored and turned the other way": ((0, -1, -1, 0), "bottom right"),
}


def turned(film: Path, path: Path, turn: tuple[int, ...]) -> Path:
    data = bytearray(film.read_bytes())
    unit = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(unit, data.index(b"tkhd"))
    a, b, c, d = (value << 16 for value in turn)
    data[at : at + len(unit)] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", TURNS)
def test_films_are_turned_and_mirrored_as_they_ask(films: Path, tmp_path: Path, name: str) -> None:
    turn, corner = TURNS[name]
    frame = next(iter(VideoReader(turned(films / "film.mp4", tmp_path / "film.mp4", turn))))
    assert frame.shape == ((HEIGHT, WIDTH, 3) if turn[0] else (WIDTH, HEIGHT, 3))
    height, width = frame.shape[:2]
    red = (frame[..., 0].astype(int) - frame[..., 1]) > 100
    row, column = (axis.mean() for axis in red.nonzero())
    assert ("top" if row < height / 2 else "bottom") + (" left" if column < width / 2 else " right") == corner
    assert red.mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_the_shape_of_pixels_is_kept(tmp_path: Path, suffix: str) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)

    source = VideoReader(encode(tmp_path / f"film{suffix}", 2, prepare=wide))
    assert source.pixel_aspect == Fraction(64, 45)
    out = tmp_path / f"out{suffix}"
    with VideoWriter(out, fps=5, size=(HEIGHT, WIDTH), pixel_aspect=source.pixel_aspect) as writer:
        writer.write(next(iter(source)))
    assert VideoReader(out).pixel_aspect == Fraction(64, 45)


def test_the_shape_of_pixels_turns_with_the_film(tmp_path: Path) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    film = encode(tmp_path / "film.mp4", 2, prepare=wide)
    reader = VideoReader(turned(film, tmp_path / "turned.mp4", (0, 1, -1, 0)))
    assert (next(iter(reader)).shape, reader.pixel_aspect) == ((WIDTH, HEIGHT, 3), Fraction(1, 2))


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("mkv", "ffv1", "gray"),
        ("mkv", "ffv1", "gray10le"),
        ("mkv", "ffv1", "gray16le"),
        ("mkv", "ffv1", "yuv420p10le"),
        ("mkv", "ffv1", "yuv444p12le"),
        ("mkv", "ffv1", "yuva420p"),
        ("mkv", "ffv1", "gbrp10le"),
        ("mkv", "ffv1", "rgb48le"),
        ("mkv", "ffv1", "ya8"),
        ("mp4", "libx264", "yuv420p10le"),
        ("avi", "mjpeg", "yuvj420p"),
        ("avi", "mjpeg", "yuvj444p"),
        ("mov", "png", "rgba"),
        ("mov", "qtrle", "argb"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_any_kind_of_pixel_is_read(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    frame = next(iter(VideoReader(encode(tmp_path / f"film.{suffix}", 2, codec=codec, pix_fmt=pix_fmt))))
    grey = pix_fmt.startswith(("gray", "ya8"))
    wanted = (83, 83, 83) if grey else (230, 20, 20)
    assert np.abs(frame[8, 8].astype(int) - wanted).max() < (70 if suffix == "gif" else 40)
    assert np.abs(frame[28, 40].astype(int) - 60).max() < 30


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 1)])
def test_tiny_frames(tmp_path: Path, size: tuple[int, int]) -> None:
    path = encode(tmp_path / "film.mov", 2, codec="png", pix_fmt="rgb24", size=size)
    assert [frame.shape for frame in VideoReader(path)] == [(*size, 3)] * 2
    with VideoWriter(tmp_path / "out.mp4", fps=5, size=size) as writer:
        writer.write(next(iter(VideoReader(path))))
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 1
