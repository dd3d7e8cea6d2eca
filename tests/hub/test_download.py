"""One file from a server that fails, cuts, stalls and lies."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub.conftest import CONTENT
from hub.server import Server, answers, serving

from stmask.errors import DownloadError
from stmask.hub import download as module
from stmask.hub import drive
from stmask.hub.download import download, shown

HALF = len(CONTENT) // 2


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "net.part"


def test_a_file(server: Server, part: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(f"{server.address}/net", part, on_bytes=lambda there, total: seen.append((there, total)))
    assert part.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in part.parent.iterdir()] == ["net.part"]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_is_asked_again(server: Server, part: Path, status: int) -> None:
    server.script = [answers(status)] * 2
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_server_that_goes_on_failing(server: Server, part: Path) -> None:
    server.script = [answers(500)] * 9
    with pytest.raises(
        DownloadError, match=rf"^{server.address}/x: the server answered 500 \(Internal Server Error\)$"
    ):
        download(f"{server.address}/x", part)
    assert len(server.asked) == module.TRIES


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_asked_for_once(server: Server, part: Path, status: int) -> None:
    server.script = [answers(status)] * 9
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        download(server.address, part)
    assert len(server.asked) == 1
    assert not part.exists()


def test_what_was_cut_off_is_gone_on_with(server: Server, part: Path) -> None:
    server.script = [server.cuts(1000), server.cuts(HALF)]
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert [place for _, place in server.asked] == [None, "bytes=1000-", f"bytes={1000 + HALF}-"]


def test_a_later_command_goes_on_too(server: Server, part: Path) -> None:
    server.script = [server.cuts(HALF), *[answers(503)] * 9]
    with pytest.raises(DownloadError, match="503"):
        download(server.address, part)
    server.script = []
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={HALF}-"


def test_a_connection_that_is_always_cut_at_the_same_place(server: Server, part: Path) -> None:
    server.script = [server.cuts(HALF), *[server.cuts(0)] * 9]
    with pytest.raises(DownloadError, match=rf"the connection ended after {HALF} of {len(CONTENT)} bytes"):
        download(server.address, part)
    assert part.stat().st_size == HALF


def test_a_server_without_ranges_that_always_cuts(server: Server, part: Path) -> None:
    server.ranges = False
    server.script = [server.cuts(HALF)] * 99
    with pytest.raises(DownloadError, match="the connection ended after"):
        download(server.address, part)
    assert len(server.asked) == module.TRIES


def test_a_file_that_was_replaced_meanwhile_is_fetched_from_the_start(server: Server, part: Path) -> None:
    def replaced(handler: object) -> None:
        server.content, server.tag = CONTENT[::-1], '"second"'
        server.send(handler)  # type: ignore[arg-type]

    server.script = [server.cuts(HALF), replaced]
    download(server.address, part)
    assert part.read_bytes() == CONTENT[::-1]


def test_a_part_of_another_version_is_not_put_behind_the_first(server: Server, part: Path) -> None:
    """The server does not know If-Range."""
    place = {"Content_Range": f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"second"'}
    server.script = [server.cuts(HALF), answers(206, CONTENT[HALF:][::-1], **place)]
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert [place for _, place in server.asked] == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("place", ["bytes 7-255/256", "bytes x", ""])
def test_another_part_than_was_asked_for(server: Server, part: Path, place: str) -> None:
    server.script = [server.cuts(HALF), answers(206, b"?" * 9, Content_Range=place, ETag='"first"')]
    download(server.address, part)
    assert part.read_bytes() == CONTENT


def test_a_file_that_became_shorter(server: Server, part: Path) -> None:
    server.script = [server.cuts(HALF), answers(416)]
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert server.asked[-1][1] is None


def test_nothing_is_gone_on_with_that_could_be_another_version(server: Server, part: Path) -> None:
    server.tag = None
    server.script = [server.cuts(HALF)]
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert [place for _, place in server.asked] == [None, None]


def test_a_part_of_another_address_is_not_gone_on_with(server: Server, part: Path) -> None:
    server.script = [server.cuts(HALF), answers(404)]
    with pytest.raises(DownloadError):
        download(f"{server.address}/one", part)
    download(f"{server.address}/two", part)
    assert server.asked[-1] == ("/two", None)


@pytest.mark.parametrize("note", ["", "{", "[]", "[1, 2, 3]", "5", "[null, null]"])
def test_a_damaged_note_is_not_trusted(server: Server, part: Path, note: str) -> None:
    part.write_bytes(b"?" * 100)
    part.with_name("net.part.json").write_text(note)
    download(server.address, part)
    assert part.read_bytes() == CONTENT


def test_a_server_that_stalls(server: Server, part: Path) -> None:
    server.script = [server.stalls(HALF, 1.0)]
    download(server.address, part)
    assert part.read_bytes() == CONTENT
    assert server.asked[1][1] == f"bytes={HALF}-"


def test_a_server_that_never_sends_anything(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 1)
    server.script = [server.stalls(0, 1.0)]
    with pytest.raises(DownloadError, match="nothing came for 0.3 seconds"):
        download(server.address, part)


def test_nobody_listens(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serving(b"") as closed:
        pass
    with pytest.raises(DownloadError, match="^http://127.0.0.1:[0-9]+: Connection refused$"):
        download(closed.address, part)


@pytest.mark.parametrize(
    ("address", "said"),
    [("http://", "no host given"), ("http://127.0.0.1:x/", "nonnumeric port"), ("http://127.0.0.1:1/a b", "control")],
)
def test_an_address_that_is_not_one(server: Server, part: Path, address: str, said: str) -> None:
    with pytest.raises(DownloadError, match=said):
        download(address, part)


def test_a_page_in_place_of_the_file(server: Server, part: Path) -> None:
    server.script = [answers(200, b"<html>log in", Content_Type="text/html; charset=utf-8")]
    with pytest.raises(DownloadError, match="a web page came in place of the file"):
        download(server.address, part)
    assert len(server.asked) == 1
    assert not part.exists()


def test_an_empty_file(server: Server, part: Path) -> None:
    server.content = b""
    with pytest.raises(DownloadError, match="an empty file came"):
        download(server.address, part)


def test_a_server_that_does_not_say_how_long_the_file_is(server: Server, part: Path) -> None:
    def send(handler: object) -> None:
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.wfile.write(CONTENT)  # type: ignore[attr-defined]

    server.script = [send]
    seen: list[int | None] = []
    download(server.address, part, on_bytes=lambda there, total: seen.append(total))
    assert part.read_bytes() == CONTENT
    assert set(seen) == {None}


def test_a_disk_without_room(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="0 MiB are needed and 0 MiB free") as caught:
        download(server.address, part)
    assert caught.value.errno == errno.ENOSPC
    assert not part.exists()


def test_redirections_are_followed(server: Server, part: Path) -> None:
    server.script = [server.cuts(HALF), answers(302, Location=f"{server.address}/there")]
    download(f"{server.address}/here", part)
    assert part.read_bytes() == CONTENT
    assert server.asked[-1] == ("/there", f"bytes={HALF}-")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/y"])
def test_redirections_lead_to_servers_only(server: Server, part: Path, target: str) -> None:
    server.script = [answers(302, Location=target)]
    with pytest.raises(DownloadError):
        download(server.address, part)


def test_a_redirection_out_of_an_encrypted_connection_is_not_followed() -> None:
    request = SimpleNamespace(type="https")
    with pytest.raises(module._Failed, match="it leads from https to http://127.0.0.1/"):
        module._Redirects().redirect_request(request, None, 302, "", {}, "http://127.0.0.1/")  # type: ignore[arg-type]


def test_a_password_in_an_address_goes_to_its_server_alone(server: Server, part: Path) -> None:
    with serving(CONTENT) as other:
        server.script = [answers(302, Location=f"{other.address}/there")]
        download(server.address.replace("//", "//me:s%40cret@"), part)
        assert server.headers[0]["Authorization"] == "Basic bWU6c0BjcmV0"
        assert "Authorization" not in other.headers[0]


def test_a_password_is_not_shown(server: Server, part: Path) -> None:
    server.script = [answers(404)]
    with pytest.raises(DownloadError) as caught:
        download(server.address.replace("//", "//me:secret@"), part)
    assert "secret" not in str(caught.value)
    assert shown("https://a:b@host:1/x?y=z") == "https://host:1/x?y=z"


# --- Google Drive

ASKS = """<html><title>Google Drive - Virus scan warning</title><form id="search" action="/no"><input name="q"></form>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="THE_FILE_OF_1"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="a&amp;b"></form><form><input name="other" value="x"></form></html>"""
ID = "14RHpTHA5GZGbuyHzc3bgn0luTsl4STuo"


def page(text: str) -> object:
    return answers(200, text.encode(), Content_Type="text/html")


@pytest.fixture
def shared(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(drive, "HOST", server.address)
    return f"{server.address}/file/d/{ID}/view?usp=sharing"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (f"/file/d/{ID}/view?usp=sharing", f"/uc?export=download&id={ID}"),
        (f"/file/d/{ID}", f"/uc?export=download&id={ID}"),
        (f"/open?id={ID}", f"/uc?export=download&id={ID}"),
        (f"/uc?export=download&id={ID}", f"/uc?export=download&id={ID}"),
        ("/drive/folders/abc", "/drive/folders/abc"),
    ],
)
def test_links_that_people_share(link: str, expected: str) -> None:
    assert drive.direct(drive.HOST + link) == drive.HOST + expected
    assert drive.direct("https://elsewhere.org" + link) == "https://elsewhere.org" + link


def test_a_small_file_of_drive_comes_at_once(server: Server, part: Path, shared: str) -> None:
    download(shared, part)
    assert part.read_bytes() == CONTENT
    assert server.asked == [(f"/uc?export=download&id={ID}", None)]


def test_a_large_file_of_drive_comes_after_the_page_that_asks(server: Server, part: Path, shared: str) -> None:
    asks = page(ASKS.format(action=f"{server.address}/download?authuser=0"))
    server.script = [asks, server.cuts(HALF), asks]  # type: ignore[list-item]
    download(shared, part)
    assert part.read_bytes() == CONTENT
    there = "/download?authuser=0&id=THE_FILE_OF_1&confirm=t&uuid=a%26b"
    assert server.asked[1::2] == [(there, None), (there, f"bytes={HALF}-")]


def test_an_older_page_that_asks_by_a_cookie(server: Server, part: Path, shared: str) -> None:
    body = ASKS.format(action="/uc?export=download&amp;confirm=t").encode()
    server.script = [answers(200, body, Content_Type="text/html", Set_Cookie="download_warning_1=t; Path=/")]
    download(shared, part)
    assert part.read_bytes() == CONTENT
    assert server.headers[-1]["Cookie"] == "download_warning_1=t"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<title>Google Drive - Quota exceeded</title>", "too many people fetched it lately: .* within a day"),
        ("<p>Too many users have viewed or downloaded this file recently.", "too many people"),
        ("<title>Google Drive: Sign-in</title> Sign in to continue", "its owner does not share it with everyone"),
        ("<title>Error 404</title>", "a web page came in place of the file"),
        (ASKS.format(action="file:///etc/passwd"), "a web page came in place of the file"),
        (ASKS.format(action="javascript:alert(1)"), "a web page came in place of the file"),
    ],
)
def test_other_pages_of_drive(server: Server, part: Path, shared: str, text: str, said: str) -> None:
    server.script = [page(text)]  # type: ignore[list-item]
    with pytest.raises(DownloadError, match=said):
        download(shared, part)
    assert len(server.asked) == 1
    assert not part.exists()


def test_drive_asks_for_ever(server: Server, part: Path, shared: str) -> None:
    server.script = [page(ASKS.format(action="/download"))] * 9  # type: ignore[list-item]
    with pytest.raises(DownloadError, match="a web page came"):
        download(shared, part)
    assert len(server.asked) == 2


def test_a_form_elsewhere_is_not_followed(server: Server, part: Path) -> None:
    server.script = [page(ASKS.format(action="/download"))]  # type: ignore[list-item]
    with pytest.raises(DownloadError, match="a web page came"):
        download(server.address, part)
    assert len(server.asked) == 1
