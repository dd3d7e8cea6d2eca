"""One file from an address: in pieces, with a second attempt that goes on where the first was cut off."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import re
import shutil
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, Request, build_opener

from stmask.errors import DownloadError
from stmask.hub import drive

TIMEOUT = 30.0  # seconds without a byte
TRIES = 4  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, then twice as long each time
_CHUNK = 1 << 20
_PAGE = 1 << 20  # bytes of a web page that are looked at
_PASSING = (408, 425, 429)  # and all from 500 on: a server that may answer later
_RANGE = r"bytes (\d+)-\d+/(\d+)"
_CHANGED = "the file has changed since the first attempt"
_log = logging.getLogger(__name__)

OnBytes = Callable[[int, "int | None"], None]
"""Is told how many bytes are there, and of how many, where that is known."""


class _Failed(Exception):
    """An attempt that did not bring the file, in words.

    Args:
        again: another may.
        anew: not by going on with what is there.
    """

    def __init__(self, what: str, *, again: bool, anew: bool = False) -> None:
        super().__init__(what)
        self.again, self.anew = again, anew


@dataclass(frozen=True)
class _Begun:
    """What is known of the file that a partial download is of: whoever goes on with it must get the same one."""

    address: str
    validator: str | None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([self.address, self.validator]), encoding="utf-8")

    @staticmethod
    def read(path: Path) -> _Begun | None:
        with suppress(OSError, ValueError, TypeError):
            address, validator = json.loads(path.read_text(encoding="utf-8"))
            return _Begun(str(address), validator)
        return None


def shown(address: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment))


def download(address: str, partial: Path, *, on_bytes: OnBytes = lambda there, total: None) -> None:
    """Fetches a file; what an earlier attempt left at `partial` is gone on with, if the server still has that file.

    Args:
        address: http, https, or the link of a file that is shared by Google Drive.
        partial: where the bytes go. An attempt that is cut off leaves them there, with a note beside them.

    Raises:
        DownloadError: what came in place of the file.
        OSError: `partial` can't be written.
    """
    note = partial.with_name(f"{partial.name}.json")
    most, tries = _size(partial), 0
    while True:
        try:
            _attempt(drive.direct(address), partial, note, on_bytes)
            note.unlink(missing_ok=True)
            return
        except _Failed as failure:
            tries = 1 if _size(partial) > most else tries + 1
            most = max(most, _size(partial))
            if failure.anew:
                note.unlink(missing_ok=True)
            if not failure.again or tries >= TRIES:
                raise DownloadError(f"{shown(address)}: {failure}") from failure
            _log.info("%s: %s; trying again", shown(address), failure)
            time.sleep(PAUSE * 2 ** (tries - 1))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(address: str, partial: Path, note: Path, on_bytes: OnBytes) -> None:
    begun = _Begun.read(note)
    resumable = begun is not None and begun.address == address and begun.validator is not None
    start = _size(partial) if resumable else 0
    headers = {"Range": f"bytes={start}-", "If-Range": str(begun.validator)} if begun and start else {}
    with _answer(address, headers) as answer:
        start, total = _place(answer.headers, answer.status, start)
        now = _Begun(address, _validator(answer.headers))
        if start and now.validator not in (None, begun.validator if begun else None):
            raise _Failed(_CHANGED, again=True, anew=True)
        _require_room(partial.parent, total, start)
        now.write(note)
        with partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            there = start
            on_bytes(there, total)
            for chunk in _chunks(answer):
                file.write(chunk)
                there += len(chunk)
                on_bytes(there, total)
    if total is not None and there != total:
        raise _Failed(f"the connection ended after {there} of {total} bytes", again=True)
    if not there:
        raise _Failed("an empty file came", again=False)


@contextmanager
def _answer(address: str, headers: dict[str, str]) -> Iterator[Any]:
    """The server's answer with the file in it, past the page on which Google Drive asks."""
    opener = build_opener(HTTPCookieProcessor(), _Redirects())
    answer = _open(opener, address, headers)
    try:
        page = _page(answer)
        if page is not None and drive.is_drive(address) and (confirmed := drive.confirmed(page, answer.url)):
            answer.close()
            answer = _open(opener, confirmed, headers)
            page = _page(answer)
        if page is not None:
            raise _Failed(drive.refusal(page) if drive.is_drive(address) else drive.PAGE, again=False)
        yield answer
    finally:
        answer.close()


def _open(opener: OpenerDirector, address: str, headers: dict[str, str]) -> Any:
    parts = urlsplit(address)
    request = Request(shown(address), headers=headers)
    request.add_header("User-Agent", f"stmask/{version('stmask')}")
    request.add_header("Accept-Encoding", "identity")
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
    try:
        return opener.open(request, timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == 416:  # what is there is not a beginning of what the server has
                raise _Failed(_CHANGED, again=True, anew=True) from error
            again = error.code in _PASSING or error.code >= 500
            raise _Failed(f"the server answered {error.code} ({error.reason})", again=again) from error
    except URLError as error:
        certificate = isinstance(error.reason, ssl.SSLCertVerificationError)
        raise _Failed(_in_words(error.reason), again=not certificate) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that is not one
        raise _Failed(_in_words(error), again=not isinstance(error, ValueError)) from error


class _Redirects(HTTPRedirectHandler):
    """Follows a server to another address, but not out of an encrypted connection."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            raise _Failed(f"it leads from https to {shown(newurl)}", again=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _place(headers: Message, status: int, start: int) -> tuple[int, int | None]:
    """From which byte on the answer goes, and how many the whole file has, if the server says so."""
    if status != 206:
        length = headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(_RANGE, headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        sent = headers.get("Content-Range", "no place")
        raise _Failed(f"the server sent another part of the file ({sent})", again=True, anew=True)
    return start, int(found[2])


def _validator(headers: Message) -> str | None:
    """What tells a version of the file from the next one; a weak tag does not say that the bytes are the same."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := _read(answer, _CHUNK):
        yield chunk


def _read(answer: Any, size: int) -> bytes:
    try:
        return answer.read1(size)  # type: ignore[no-any-return]
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(_in_words(error), again=True) from error


def _page(answer: Any) -> str | None:
    """The web page that came in place of a file; None where a file came."""
    if answer.headers.get_content_type() != "text/html":
        return None
    content = b""
    while len(content) < _PAGE and (chunk := _read(answer, _PAGE)):
        content += chunk
    return content.decode("utf-8", "replace")


def _require_room(folder: Path, total: int | None, there: int) -> None:
    needed, free = (total or 0) - there, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed >> 20} MiB are needed and {free >> 20} MiB free", str(folder))


def _in_words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {TIMEOUT:g} seconds"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
