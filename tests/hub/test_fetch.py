"""Published files in the cache: fetched once, verified always, from the authors' address or a mirror."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision
from hub.conftest import CONTENT, SHA256, weights_file
from hub.server import Server, answers

from stmask import hub
from stmask.errors import ConfigError, DownloadError, OutputError
from stmask.hub import PublishedFile, fetched
from stmask.hub.cache import cache_folder, record_of
from stmask.hub.fetch import state_of

Publish = Callable[..., PublishedFile]


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "weights").iterdir() if not path.name.endswith(".lock"))


# --- the table


def test_the_table_is_sound() -> None:
    files = [hub.find(name) for name in hub.names()]
    assert len({file.file for file in files}) == len(files) == len(hub.names())
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9][\w-]*", file.name, re.ASCII)
        assert re.fullmatch(r"[A-Za-z0-9][\w-]*\.pth", file.file, re.ASCII)  # also on Windows
        assert file.address.startswith("https://")
        assert set(file.serves) <= {"checkpoint", "init_from", "backbone"}
        assert re.fullmatch(r"[0-9a-f]{0,64}", file.sha256)
        assert re.fullmatch(r"(\d+\.\d)?", file.megabytes)
        assert file.licence
        assert file.about
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", file.tried)
        assert file.name.lower() not in ("last", "imagenet")
        if digits := re.search(r"-([0-9a-f]{8})\.pth$", file.file):  # put there by its authors
            assert file.sha256.startswith(digits[1])


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_imagenet_weights_are_torchvisions(depth: int) -> None:
    theirs = torchvision.models.get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    ours = hub.find(f"resnet{depth}_imagenet")
    assert ours.address == theirs.url
    assert float(ours.megabytes) == pytest.approx(theirs.meta["_file_size"], abs=0.1)


def test_the_links_are_those_of_the_page() -> None:
    """stmask/official/WEIGHTS.md has the authors' own."""
    page = Path(hub.__file__).parents[1] / "official" / "WEIGHTS.md"
    links = dict(re.findall(r"^\| \[(\w+)\]\((https:\S+)\)", page.read_text(), re.M))
    assert len(links) == 20
    assert links == {name: hub.find(name).address for name in links}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("STMask_plus_resnet50_ad", "did you mean STMask_plus_resnet50_ada\\?"),
        ("stmask_plus_base", "did you mean STMask_plus_base\\?"),
        ("STMask_plus_base.pth", "did you mean STMask_plus_base\\?"),
        ("zzz", "`stmask weights list` has all of them"),
    ],
)
def test_an_unknown_name(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"no published weights are called '{name}'; {near}"):
        hub.find(name)


# --- the cache


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "{home}/.cache/stmask"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/stmask"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "{home}/.cache/stmask"),
        ("linux", {"XDG_CACHE_HOME": ""}, "{home}/.cache/stmask"),
        ("darwin", {}, "{home}/Library/Caches/stmask"),
        ("win32", {"LOCALAPPDATA": "/Users/me/Local"}, "/Users/me/Local/stmask"),
        ("win32", {}, "{home}/AppData/Local/stmask"),
        ("linux", {"STMASK_CACHE": "/scratch/w", "XDG_CACHE_HOME": "/big/cache"}, "/scratch/w"),
        ("linux", {"STMASK_CACHE": "~/w"}, "{home}/w"),
    ],
)
def test_where_the_cache_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    for name in ("STMASK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert str(cache_folder()) == expected.format(home=tmp_path)


def test_a_file_is_fetched_once(server: Server, cache: Path, publish: Publish) -> None:
    file = publish()
    assert state_of(file) == "absent"
    path = fetched("net")
    assert path == cache / "weights" / "net.pth"
    assert path.read_bytes() == CONTENT
    assert fetched("net") == path
    assert len(server.asked) == 1
    assert kept(cache) == ["net.pth", "net.pth.sha256"]
    assert state_of(file) == "recorded"


def test_the_record_is_read_by_sha256sum(cache: Path, publish: Publish) -> None:
    publish()
    path = fetched("net")
    assert record_of(path).read_text() == f"{SHA256}  net.pth\n"


@pytest.mark.parametrize("digits", [8, 64])
def test_a_known_hash_is_compared(server: Server, cache: Path, publish: Publish, digits: int) -> None:
    file = publish(sha256=SHA256[:digits])
    fetched("net")
    assert state_of(file) == "verified"


def test_another_file_than_the_known_one_never_gets_its_name(server: Server, cache: Path, publish: Publish) -> None:
    publish(sha256="0" * 8)
    said = (
        rf"^{server.address}/net.pth: what came has the SHA-256 {SHA256}, and net has one that begins with 00000000; "
    )
    with pytest.raises(DownloadError, match=rf"{said}try again later, or save the file by hand as {cache}/weights/net"):
        fetched("net")
    assert kept(cache) == []


def test_a_file_that_changes_in_the_cache(server: Server, cache: Path, publish: Publish) -> None:
    file = publish()
    path = fetched("net")
    path.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DownloadError, match=rf"{path} has changed since it was first used \(its SHA-256 is {digest}\)"):
        fetched("net")
    assert state_of(file) == "different"
    path.unlink()
    assert fetched("net").read_bytes() == CONTENT


def test_a_file_that_its_authors_replace(server: Server, cache: Path, publish: Publish) -> None:
    publish()
    path = fetched("net")
    path.unlink()
    server.content = weights_file(2.0)
    with pytest.raises(DownloadError, match=rf"another one than at its first use; .* remove {record_of(path)}"):
        fetched("net")
    assert not path.exists()
    record_of(path).unlink()
    assert fetched("net").read_bytes() == weights_file(2.0)


def test_a_damaged_record(cache: Path, publish: Publish) -> None:
    publish()
    record_of(fetched("net")).write_bytes(b"\xff")
    with pytest.raises(DownloadError, match=r"cannot read .*net\.pth\.sha256"):
        fetched("net")
    record_of(cache / "weights" / "net.pth").write_text("nothing")
    with pytest.raises(DownloadError, match=r"net\.pth\.sha256 is damaged: remove it"):
        fetched("net")


def test_a_file_that_was_saved_by_hand(server: Server, cache: Path, publish: Publish) -> None:
    publish(sha256=SHA256[:8])
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / "net.pth").write_bytes(CONTENT)
    fetched("net")
    assert server.asked == []
    (cache / "weights" / "net.pth").write_bytes(b"<html>")
    with pytest.raises(DownloadError, match=rf"net\.pth is not net: its SHA-256 begins with .*, not {SHA256[:8]}"):
        fetched("net")


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "text/html; charset=utf-8"])
def test_a_web_page_in_place_of_the_file(server: Server, cache: Path, publish: Publish, kind: str) -> None:
    publish()
    server.script = [answers(200, b"\n<!DOCTYPE html><html>please log in", Content_Type=kind)]
    with pytest.raises(DownloadError, match=r"a web page.*; try again later, or save the file by hand as .*net\.pth"):
        fetched("net")
    assert kept(cache) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"garbage", "what came is not a PyTorch checkpoint"),
        (CONTENT[: len(CONTENT) // 2], "what came is truncated"),  # as if that were all
        (CONTENT.replace(struct.pack("<f", 1.0), struct.pack("<f", 2.0), 1), "what came is damaged"),
        (pickle.dumps(print), "what came holds Python objects besides tensors and plain values"),
        (b"version https://git-lfs.github.com/spec/v1", "what came is a Git LFS pointer"),
    ],
)
def test_a_file_that_is_not_of_weights(
    server: Server, cache: Path, publish: Publish, content: bytes, said: str
) -> None:
    publish()
    server.content = content
    with pytest.raises(DownloadError, match=said):
        fetched("net")
    assert kept(cache) == []


def test_what_was_cut_off_is_kept_for_the_next_command(server: Server, cache: Path, publish: Publish) -> None:
    publish()
    server.script = [server.cuts(1000), *[answers(503)] * 9]
    with pytest.raises(DownloadError, match="503"):
        fetched("net")
    assert kept(cache) == ["net.pth.part", "net.pth.part.json"]
    server.script = []
    fetched("net")
    assert kept(cache) == ["net.pth", "net.pth.sha256"]
    assert server.asked[-1][1] == "bytes=1000-"


def test_what_it_may_be_given_as(server: Server, publish: Publish) -> None:
    publish(serves=("backbone",))
    with pytest.raises(ConfigError, match=r"net \(a network\) can't be given as checkpoint: give model\.backbone\.we"):
        fetched("net", to_serve="checkpoint")
    publish(serves=())
    with pytest.raises(ConfigError, match="can't be given as init_from: stmask does not read it"):
        fetched("net", to_serve="init_from")
    assert server.asked == []
    fetched("net")


def test_a_warning_about_a_file(publish: Publish, caplog: pytest.LogCaptureFixture) -> None:
    publish(warning="not what it says")
    fetched("net")
    assert "net: not what it says" in caplog.text


def test_a_cache_that_is_not_a_folder(tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    (tmp_path / "file").touch()
    monkeypatch.setenv("STMASK_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot write in .*file/weights: .*; STMASK_CACHE=FOLDER keeps downloads"):
        fetched("net")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_only_be_read(cache: Path, publish: Publish) -> None:
    publish()
    path = fetched("net")
    path.parent.chmod(0o555)
    try:
        assert fetched("net") == path
    finally:
        path.parent.chmod(0o755)


def test_a_disk_that_is_full(cache: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 0})())
    with pytest.raises(OutputError, match=r"cannot write .*net\.pth: 0 MiB are needed and 0 MiB free; STMASK_CACHE"):
        fetched("net")


# --- several processes

ASK = """import sys
from stmask.hub import fetch, table
row = table.PublishedFile(name="net", file="net.pth", address=sys.argv[1], serves=(), sha256="", megabytes="",
                          licence="MIT", about="", warning="", tried="")
table._rows = lambda: {"net": row}
print(len(fetch.fetched("net").read_bytes()))"""


def test_processes_that_ask_at_once_fetch_once(server: Server, cache: Path) -> None:
    server.script = [server.stalls(1000, 0.4)]  # the others come meanwhile; the first then goes on with what it has
    command = [sys.executable, "-c", ASK, f"{server.address}/net.pth"]
    environment = {**os.environ, "PYTHONPATH": str(Path(hub.__file__).parents[2])}
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in asking] == [str(len(CONTENT))] * 2
    assert [place for _, place in server.asked] == [None, "bytes=1000-"]
    assert kept(cache) == ["net.pth", "net.pth.sha256"]


# --- mirrors


@pytest.mark.parametrize("form", ["{folder}", "file://{folder}", "file://{folder}/"])
def test_a_folder_as_mirror(
    tmp_path: Path, server: Server, publish: Publish, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    publish()
    folder = tmp_path / "a mirror"
    folder.mkdir()
    (folder / "net.pth").write_bytes(weights_file(3.0))
    monkeypatch.setenv(
        "STMASK_MIRROR", form.format(folder=str(folder).replace(" ", "%20") if "://" in form else folder)
    )
    assert fetched("net").read_bytes() == weights_file(3.0)
    assert server.asked == []


def test_a_server_as_mirror(server: Server, publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(address="https://unreachable.invalid/x")
    monkeypatch.setenv("STMASK_MIRROR", f"{server.address}/weights/")
    fetched("net")
    assert server.asked == [("/weights/net.pth", None)]


def test_a_mirror_is_verified_as_well(tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(sha256=SHA256)
    (tmp_path / "net.pth").write_bytes(b"other")
    monkeypatch.setenv("STMASK_MIRROR", str(tmp_path))
    with pytest.raises(DownloadError, match=f"{tmp_path}/net.pth: what came has the SHA-256"):
        fetched("net")


@pytest.mark.parametrize(
    ("mirror", "kind", "said"),
    [
        ("{folder}", DownloadError, r"net\.pth: No such file or directory; try again later, or save the file by hand"),
        ("{folder}/none", ConfigError, "STMASK_MIRROR=.*/none: there is no such folder"),
        ("ftp://me:secret@host/x", ConfigError, "STMASK_MIRROR must be a folder, or .*, got ftp://host/x"),
    ],
)
def test_mirrors_that_have_nothing(
    tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch, mirror: str, kind: type[Exception], said: str
) -> None:
    publish()
    monkeypatch.setenv("STMASK_MIRROR", mirror.format(folder=tmp_path))
    with pytest.raises(kind, match=said):
        fetched("net")
