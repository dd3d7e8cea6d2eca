"""Cameras and addresses: served from here, also badly."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference.films import encode, noise
from inference.servers import rtsp, web

from stmask.errors import DataError, Interrupted
from stmask.inference.places import Place
from stmask.inference.source import FrameRange, Moment
from stmask.inference.streams import Patience, StreamReader
from stmask.inference.video import VideoReader

QUICK = Patience(0.4, (0.01, 0.02, 0.03))
FRAMES = 30


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for suffix in ("mp4", "ts"):
        noise(folder / f"film.{suffix}", FRAMES)
    return folder


def reader(address: str, wanted: FrameRange | None = None) -> StreamReader:
    return StreamReader(Place(address=address), wanted or FrameRange(), patience=QUICK)


def said(error: BaseException | None) -> str:
    """All that a traceback would show of it, but lines of code."""
    told = ""
    while error is not None:
        told += "".join(traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__
    return told


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("plan", [["whole"], ["cut", "whole"], ["stall", "cut", "whole"]], ids="-".join)
def test_a_video_at_an_address_comes_whole(films: Path, suffix: str, plan: list[str]) -> None:
    film = films / f"film.{suffix}"
    with web(film.read_bytes(), *plan) as (host, server):
        source = reader(f"http://{host}/film.{suffix}")
        frames = list(source.frames())
        assert (source.name, source.path, source.live) == (f"http://{host}/film.{suffix}", None, False)
        assert len(server.asked) == len(plan)
    local = VideoReader(film)
    assert source.fps == local.fps == 10
    assert source.length in (FRAMES, None)  # one that says it, and one that does not
    assert source.incomplete is None
    for mine, theirs in zip(frames, local.frames(), strict=True):
        assert (mine.index, mine.time) == (theirs.index, theirs.time)
        assert np.array_equal(mine.image, theirs.image)


@pytest.mark.parametrize("plan", [["cut"], ["stall"], ["cut", "404"]], ids="-".join)
def test_what_came_of_a_lost_video_is_kept(films: Path, plan: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with web((films / "film.mp4").read_bytes(), *plan) as (host, server):
        source = reader(f"http://me:secret@{host}/film.mp4?key=secret")
        with caplog.at_level(logging.INFO):
            frames = list(source.frames())
        assert len(server.asked) == 4
    assert 10 < len(frames) < FRAMES
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert source.incomplete is not None
    assert source.incomplete.endswith("and was opened again in vain 3 times")
    assert f"http://{host}/film.mp4: it broke off; opening it again in 0.01 s (1 of 3)" in caplog.text
    assert "secret" not in caplog.text + source.incomplete + source.name + source.stem


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("404", "Server returned 404 Not Found"),
        ("401", "401 Unauthorized .*user and password are written as in http://USER:PASSWORD@HOST/"),
        ("silent", "no answer within 0.4 s"),
        ("to file:///etc/hostname", "finds no video there"),
        ("to concat:a|b", "finds no video there"),
    ],
)
def test_what_an_address_answers_instead_of_a_video(answer: str, message: str) -> None:
    start = r"^cannot read http://127\.0\.0\.1:\d+/film\.mp4: .*"
    with web(b"", answer) as (host, _), pytest.raises(DataError, match=start + message) as refused:
        reader(f"http://me:secret@{host}/film.mp4?key=secret")
    assert "secret" not in said(refused.value)


@pytest.mark.parametrize("name", ["list.m3u8", "film.mp4"])
@pytest.mark.parametrize(
    "body",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{}</BaseURL></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5 RTP/AVP 96\n",
        "<!DOCTYPE html>\n<html><video src='{}'></html>",
        "",
    ],
    ids=["hls", "concat", "dash", "sdp", "html", "nothing"],
)
def test_what_names_other_addresses_is_not_followed(films: Path, body: str, name: str) -> None:
    with web((films / "film.ts").read_bytes(), "whole") as (elsewhere, server):
        names_it = body.format(f"http://{elsewhere}/film.ts").encode()
        refused = pytest.raises(DataError, match="names other addresses .* is not followed: give the address")
        with web(names_it, "whole") as (host, _), refused:
            reader(f"http://{host}/{name}")
        assert server.asked == []


def test_a_server_may_send_elsewhere(films: Path) -> None:
    with web((films / "film.mp4").read_bytes(), "whole") as (host, _), web(b"", f"to http://{host}/x") as (first, _):
        assert len(list(reader(f"http://{first}/film.mp4").frames())) == FRAMES


def test_a_damaged_video_at_an_address_is_refused(films: Path) -> None:
    body = bytearray((films / "film.mp4").read_bytes())
    body[len(body) // 3 : len(body) // 2] = bytes(len(body) // 2 - len(body) // 3)
    refused = pytest.raises(DataError, match=r"cannot decode http://127.*/film\.mp4 near frame \d+")
    with web(bytes(body), "whole") as (host, _), refused:
        list(reader(f"http://{host}/film.mp4").frames())


def test_the_chosen_frames_of_a_video_at_an_address(tmp_path: Path) -> None:
    with web(noise(tmp_path / "film.mp4", FRAMES).read_bytes(), "whole") as (host, _):
        wanted = FrameRange(2, Moment(seconds=0.5), Moment(frames=20), 4)
        source = reader(f"http://{host}/film.mp4", wanted)
        assert [frame.index for frame in source.frames()] == [5, 7, 9, 11]
        assert (source.length, source.fps) == (4, 5)


def test_a_live_stream_is_read_until_it_ends(films: Path) -> None:
    with web((films / "film.ts").read_bytes(), "live") as (host, _):
        source = reader(f"http://{host}/film.ts")
        assert (source.live, source.length) == (True, None)
        frames = list(source.frames())
    assert source.incomplete is None
    assert 1 <= len(frames) <= FRAMES
    assert frames[-1].index == FRAMES - 1  # the newest are kept


def test_a_camera_at_an_address(films: Path) -> None:
    with rtsp(films / "film.mp4", None) as (host, camera):
        source = reader(f"rtsp://me:secret@{host}/live?channel=1", FrameRange(max_frames=40))
        frames = list(source.frames())
        assert (source.name, source.stem.partition("_")[0]) == (f"rtsp://{host}/live", "127.0.0.1")
        assert (source.live, source.length, len(frames)) == (True, 40, 40)
        assert "OPTIONS" in camera.asked[0]
    assert frames[0].image.shape == (32, 48, 3)
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize("then", ["cut", "stall"])
def test_a_camera_that_is_lost_is_opened_again(films: Path, then: str, caplog: pytest.LogCaptureFixture) -> None:
    with rtsp(films / "film.mp4", 30, 30, None, then=then) as (host, camera):
        source = reader(f"rtsp://me:secret@{host}/live", FrameRange(max_frames=70))
        with caplog.at_level(logging.INFO):
            frames = list(source.frames())
        assert camera.connections == 3
    assert (len(frames), source.incomplete) == (70, None)
    assert "opening it again in 0.01 s (1 of 3)" in caplog.text
    assert "secret" not in caplog.text
    gaps = np.diff([float(frame.time) for frame in frames])
    assert (gaps > 0).all()


def test_a_camera_that_stays_away_ends_it(films: Path) -> None:
    with rtsp(films / "film.mp4", 30) as (host, camera):
        source = reader(f"rtsp://{host}/live")
        frames = list(source.frames())
        assert camera.connections == 4
    assert frames
    assert source.incomplete == "it ended, and was opened again in vain 3 times"


def test_frames_that_come_too_fast_are_left_out(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    with rtsp(films / "film.mp4", None, interval=0.001) as (host, _), caplog.at_level(logging.INFO):
        indices = []
        for frame in reader(f"rtsp://{host}/live", FrameRange(max_frames=5)).frames():
            indices.append(frame.index)
            time.sleep(0.1)
    assert indices[-1] > 20
    assert "frames that came faster than the network works, left out: " in caplog.text


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_it_is_stopped_from_outside(films: Path, scheme: str) -> None:
    film = films / "film.mp4"
    served: Any = web(film.read_bytes(), "stall") if scheme == "http" else rtsp(film, 30, then="stall")
    with served as (host, _):
        source = StreamReader(Place(address=f"{scheme}://{host}/film.mp4"), patience=Patience(20.0))
        threading.Timer(0.5, source.stop).start()
        began = time.monotonic()
        assert list(source.frames())
        assert time.monotonic() - began < 10  # it would have waited for 20 s
        assert source.incomplete is None
        with pytest.raises(Interrupted):
            list(source.frames())


def test_an_address_where_nobody_listens() -> None:
    for address in (
        "rtsp://me:secret@127.0.0.1:9/live",
        "https://me:secret@127.0.0.1:9/x",
        "http://:secret@127.0.0.1:9",
    ):
        with pytest.raises(DataError, match=r"cannot read .*://127\.0\.0\.1:9.*: Connection refused") as refused:
            reader(address)
        assert "secret" not in said(refused.value)


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"^cannot read camera 97: /dev/video97: No such file.*; there is .* here$"):
        StreamReader(Place(camera=97))


def test_a_device_that_is_not_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "device", "/dev/null")
    with pytest.raises(DataError, match="cannot read camera 0: /dev/null: Inappropriate ioctl for device"):
        StreamReader(Place(camera=0))


def test_the_shape_of_pixels_at_an_address(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", prepare=lambda stream: setattr(stream.codec_context, "sample_aspect_ratio", 2))
    with web(film.read_bytes(), "whole") as (host, _):
        source = reader(f"http://{host}/film.mp4")
    assert source.pixel_aspect == 2
