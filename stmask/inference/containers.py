"""Opens local video files with FFmpeg (PyAV), and nothing else that FFmpeg can open.

FFmpeg tells formats by their content, and some of them (playlists, scripts, manifests) name other files or addresses,
which it then opens. Only self-contained formats are let through, whatever a file is called.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer

# Names of FFmpeg's demuxers whose header states how long the video is; others only let it be estimated.
STATING_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "flv", "mxf")
_SELF_CONTAINED = (
    *STATING_DURATION,
    *("mpegts", "mpeg", "ogg", "live_flv", "nut", "rm", "dv", "wtv", "ivf", "gif", "apng", "yuv4mpegpipe"),
    *("h261", "h263", "h264", "hevc", "vvc", "av1", "obu", "m4v", "mjpeg", "mpegvideo", "vc1"),  # bare streams
    *("wav", "mp3", "flac", "aac", "aiff"),  # that mark it as audio
)
_OPTIONS = {"format_whitelist": ",".join(_SELF_CONTAINED), "protocol_whitelist": "file"}
_HEAD_BYTES = 4096
# What a file begins with (after blanks, in lower case; a dot is any byte), and what it is then.
_OTHER_KINDS = (
    (rb"#extm3u", "a playlist (HLS, M3U), which names other files"),
    (rb"ffconcat", "a script of FFmpeg, which names other files"),
    (rb"(<\?xml.*?)?<(\w+:)?mpd\b", "a manifest (DASH), which names other files"),
    (rb"(<\?xml.*?)?<(\w+:)?smoothstreamingmedia", "a manifest, which names other files"),
    (rb"v=0\r?\n.*?m=", "the description of a stream (SDP)"),
    (rb"\[playlist\]|\[reference\]|(<\?xml.*?)?<(asx|smil|playlist)\b", "a playlist, which names other files"),
    (rb"(<\?xml.*?|<!--.*?)?(<!doctype svg.*?)?<svg\b", "a drawing (SVG)"),
    (rb"(<!doctype html|(<!--.*?)?<html)\b", "a web page (HTML)"),
    (rb"\[script info\]|webvtt|\d+\r?\n\d\d:\d\d:\d\d,\d", "subtitles"),
    (rb"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (rb"\x89png|\xff\xd8\xff|riff....webp|ii\*\x00|mm\x00\*", "a picture: name it as one, .jpg or .png"),
    (rb"....ftyp(hei[cxs]|mif1|msf1|avi[fs])", "a picture (HEIC, AVIF): save it as JPEG or PNG"),
    (rb"pk\x03\x04|\x1f\x8b|rar!|7z\xbc\xaf|bzh|\xfd7zx|\x28\xb5\x2f\xfd|.{257}ustar", "an archive: unpack it"),
    (rb"\x00+\Z", "nothing but zeros at its start, as after a copy that broke off"),
)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.,-]+):/", re.IGNORECASE)  # Path has merged two slashes into one


def open_container(path: Path) -> InputContainer:
    """The file, opened.

    Raises:
        DataError: missing, empty, not a file, or of a format that is not let through.
    """
    import av

    try:
        # With the protocol in front, a name with a colon or a percent sign is still a name.
        return av.open(f"file:{path}", options=_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        unknown = isinstance(error, av.error.InvalidDataError)
        what = _kind(path) or ("FFmpeg finds no video format in it" if unknown else reason(error))
        raise DataError(f"cannot read {path} as a video: {what}") from error


def require_local(path: Path) -> os.stat_result:
    """What is there, a file or a folder.

    Raises:
        DataError: an address, nothing, or something that can't be read twice. Only the kind of an address is shown: it
            may hold a password.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        if (address := _ADDRESS.search(str(path))) is not None:
            raise DataError(
                f"{address[1]}: addresses and streams can't be read, only local files and folders; "
                "save it to a file first: ffmpeg -i ADDRESS clip.mp4"
            ) from None
        hint = ""
        if re.search(r"%\d*d|[*?]", path.name) and path.parent.is_dir():
            hint = f"; for a folder of frames give the folder: {path.parent}"
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        why = "" if missing else f" ({reason(error)})"
        raise DataError(f"no such video or folder of frames: {path}{why}{hint}") from error
    if stat.S_ISREG(found.st_mode):
        if not found.st_size:
            raise DataError(f"cannot read {path} as a video: the file is empty")
    elif not stat.S_ISDIR(found.st_mode):
        raise DataError(f"cannot read {path} as a video: it is not a file or folder but a device or a pipe")
    return found


def reason(error: BaseException) -> str:
    """The text of an error, without its number and file."""
    return str(getattr(error, "strerror", None) or error)


def _kind(path: Path) -> str | None:
    """What a file that is not a video is; None if unknown."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or head[:4] == codecs.BOM_UTF32_BE:
        head = head.translate(None, b"\xff\xfe\x00")
    begin = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for pattern, kind in _OTHER_KINDS:
        if re.match(pattern, begin, re.DOTALL):
            return f"it is {kind}"
    if head and not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head):
        return "it is a text"
    return None
