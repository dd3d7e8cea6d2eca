"""Opens videos with FFmpeg (PyAV): local files, and the cameras and addresses that a user names.

FFmpeg tells formats by their content, and some of them (playlists, scripts, manifests) name other files or addresses,
which it then opens. Only self-contained formats are let through, whatever a file is called and wherever it comes from.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.errors import DataError
from stmask.inference.places import Place

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
_PROTOCOLS = "http,https,httpproxy,rtp,tcp,tls,udp"  # what an address of ours may lead to
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


def open_elsewhere(place: Place, *, seconds: float) -> InputContainer:
    """A camera or an address, opened.

    Args:
        place: which the user named himself.
        seconds: to wait for an answer, and for each packet afterwards.

    Raises:
        DataError: there is none, it does not answer, or it is not a video. Passwords are not shown.
    """
    import av

    name, form = place.name, None
    try:
        if place.address is not None:
            return av.open(place.address, options=_stream_options(place.address), timeout=seconds)
        form, device = _camera(place)
        return av.open(device, format=form, timeout=seconds)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = _why_not(error, place, seconds)
    raise DataError(f"cannot read {name}: {why}")  # not from the error: it holds the address


def _stream_options(address: str) -> dict[str, str]:
    formats = ",".join((*_SELF_CONTAINED, "mpjpeg", "rtsp"))
    options = {"format_whitelist": formats, "protocol_whitelist": _PROTOCOLS}
    return {**options, "rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else options


def _camera(place: Place) -> tuple[str, str]:
    """The name of FFmpeg's demuxer for cameras here, and what it calls this one."""
    import av

    wanted, device = ("avfoundation", str(place.camera)) if sys.platform == "darwin" else ("v4l2", place.device)
    forms = [form for form in av.formats_available if wanted in form.split(",")]
    if not forms:
        raise DataError(
            f"cannot read {place.name}: this PyAV can't read cameras on {sys.platform}; "
            "give the address of a camera (rtsp://) or a file"
        )
    return wanted, device


def _why_not(error: Exception, place: Place, seconds: float) -> str:
    """What went wrong and the way out, without the address."""
    import av

    said = reason(error)
    if place.address is None:
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "no camera"
        busy = " (another program is using it)" if "busy" in said.lower() else ""
        return f"{place.device}: {said}{busy}; there is {there} here"
    if isinstance(error, av.error.ExitError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return f"{said}; user and password are written as in {place.address.partition(':')[0]}://USER:PASSWORD@HOST/"
    if isinstance(error, (av.error.InvalidDataError, av.error.ArgumentError)):
        return (
            "FFmpeg finds no video there. What names other addresses (HLS and DASH playlists, web pages) is not "
            "followed: give the address of the video itself, or save it first: ffmpeg -i ADDRESS -c copy clip.mp4"
        )
    return f"{said} (is the name of the host right?)" if getattr(error, "errno", None) == errno.EIO else said


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
                f"{address[1]}: an address is not a local file or folder; `stmask predict` reads http(s):// and rtsp://"
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
