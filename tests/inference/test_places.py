"""Which videos are meant by what a user types."""

from __future__ import annotations

from pathlib import Path

import pytest

from stmask.errors import ConfigError, DataError
from stmask.inference.places import Place, find_places, shown


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "clips/b.mp4", "clips/a10.mov", "clips/a9.MOV", "clips/notes.md", "clips/.hidden.mp4",
        "frames/0.jpg", "frames/1.jpg", "mixed/0.png", "mixed/a.mp4", "one.webm", "odd[1].mp4", "own/list.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["one.webm"], ["one.webm"]),
        (["one.webm", "frames"], ["one.webm", "frames"]),
        (["clips"], ["clips/a9.MOV", "clips/a10.mov", "clips/b.mp4"]),
        (["frames/"], ["frames"]),
        (["mixed"], ["mixed"]),  # of frames, as it always was
        (["clips/*.mp4"], ["clips/b.mp4"]),
        (["*/*.[mM][oO][vV]"], ["clips/a9.MOV", "clips/a10.mov"]),
        (["fr*"], ["frames"]),
        (["**/*.mp4"], ["clips/b.mp4", "mixed/a.mp4", "odd[1].mp4"]),
        (["odd[1].mp4"], ["odd[1].mp4"]),
        (["missing.mp4"], ["missing.mp4"]),  # said by whoever opens it
        (["frames/%05d.jpg"], ["frames/%05d.jpg"]),
        (["frames/0.jpg"], ["frames/0.jpg"]),
    ],
)
def test_files_folders_and_globs(here: Path, words: list[str], found: list[str]) -> None:
    assert [str(place.path) for place in find_places(words)] == found


@pytest.mark.parametrize(
    ("word", "place", "name", "stem"),
    [
        ("0", Place(camera=0), "camera 0", "camera0"),
        ("/dev/video3", Place(camera=3), "camera 3", "camera3"),
        ("rtsp://cam/live", Place(address="rtsp://cam/live"), "rtsp://cam/live", "cam_live"),
        ("HTTPS://h/a/b.mp4", Place(address="HTTPS://h/a/b.mp4"), "https://h/a/b.mp4", "h_a_b"),
    ],
)
def test_cameras_and_addresses(here: Path, word: str, place: Place, name: str, stem: str) -> None:
    (found,) = find_places([word])
    assert (found, found.name, found.stem) == (place, name, stem)


@pytest.mark.parametrize(
    ("address", "visible"),
    [
        ("rtsp://me:secret@cam:554/live", "rtsp://cam:554/live"),
        ("rtsp://me:se@cret@cam/live", "rtsp://cam/live"),
        ("http://secret@cam/live", "http://cam/live"),
        ("http://cam/live.mp4?token=secret#secret", "http://cam/live.mp4"),
        ("rtsp://cam/user=me&password=secret&channel=1", "rtsp://cam/..."),
        ("rtsp://cam/a:secret@b", "rtsp://cam/..."),
        ("rtsp://me:secret@[::1]:8554/x", "rtsp://[::1]:8554/x"),
        ("rtsp://me:secret@cam:port/x", "rtsp://..."),
        ("rtsp://me:secret@[::1/x", "rtsp://..."),
        ("http://me:secret/x@cam/live", "http://..."),
    ],
)
def test_no_password_is_shown(address: str, visible: str) -> None:
    assert shown(address) == visible
    place = Place(address=address)
    assert "secret" not in place.name + place.stem + repr(place)


def test_a_list_has_a_video_a_line(here: Path) -> None:
    (here / "own" / "list.txt").write_bytes(
        b"\xef\xbb\xbf# mine\r\n../one.webm\r\n\r\n  ../clips/*.mov \r\n../frames\r\nrtsp://me:x@cam/1\r\n/dev/video0\r\n"
    )
    places = find_places(["own/list.txt", "one.webm"])
    assert [place.name for place in places] == [
        "own/../one.webm", "own/../clips/a10.mov", "own/../frames", "rtsp://cam/1", "camera 0", "one.webm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no videos; it has one a line"),
        (b"# nothing\n", "lists no videos"),
        (b"\xff\xfea\0", "not a list of videos, one a line in UTF-8"),
        (b"a\0b", "not a list of videos"),
        (b"../one.webm\nftp://me:secret@h/x", "line 2: ftp: such addresses can't be read"),
        (b"../nothing*.mp4", "line 1: nothing matches .*nothing.*mp4"),
    ],
)
def test_a_list_that_is_none(here: Path, content: bytes, message: str) -> None:
    (here / "own" / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"^own/list\.txt.*{message}") as refused:
        find_places(["own/list.txt"])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["ftp", "file", "udp", "srt", "concat", "data", "rtmp", "hls+http"])
def test_other_addresses_are_refused(here: Path, scheme: str) -> None:
    with pytest.raises(
        DataError, match=f"{scheme.partition('+')[0]}.*can't be read, only http://, https://"
    ) as refused:
        find_places([f"{scheme}://me:secret@host/x"])
    assert "secret" not in str(refused.value)


def test_a_glob_without_matches_is_refused(here: Path) -> None:
    with pytest.raises(DataError, match=r"nothing matches clips/\*\.webm"):
        find_places(["clips/*.webm"])


def test_a_number_that_is_also_a_folder_is_refused(here: Path) -> None:
    (here / "0").mkdir()
    with pytest.raises(ConfigError, match=r"give \./0 or, for the camera, /dev/video0"):
        find_places(["0"])
    assert find_places(["./0"]) == [Place(path=Path("0"))]
