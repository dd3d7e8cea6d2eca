"""Finds the videos that are meant by what a user types: files, folders, globs, lists, cameras and addresses.

An address is taken only from the user: from the command line, or from a list of his. What a media file names is never
opened (see `containers`).
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stmask.data.layouts import FRAME_SUFFIXES
from stmask.errors import ConfigError, DataError
from stmask.files import at_home
from stmask.folders import list_folder, natural_key

# by which a folder's videos are found; a file that is named is known by its content
READ_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".m4v", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv"}
    | {".ogv", ".3gp", ".3g2", ".mxf", ".gif"}
)
_LIST_SUFFIX = ".txt"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = ("http", "https", "rtsp", "rtsps")
_CAMERA = re.compile(r"(0|[1-9]\d?)|/dev/video(\d+)", re.ASCII)
_PLAIN_PATH = re.compile(r"[\w./-]*", re.ASCII)  # others may hold a password
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)
_LONGEST_LIST = 1 << 24  # bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where one video is: a file or folder of frames, a camera, or an address. One of the three is given.

    Attributes:
        path: of the file or folder.
        camera: its number.
        address: which may hold a password, so that it is never shown; `name` is.
    """

    path: Path | None = None
    camera: int | None = None
    address: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """As people are shown it."""
        if self.address is not None:
            return shown(self.address)
        return f"camera {self.camera}" if self.path is None else str(self.path)

    @property
    def device(self) -> str:
        """The camera's file on Linux."""
        return f"/dev/video{self.camera}"

    @property
    def stem(self) -> str:
        """Of the names of files that are written about it."""
        if self.address is not None:
            without_scheme = re.sub(r"(/\.\.\.|\.\w{1,4})$", "", shown(self.address).partition("://")[2])
            return _UNSAFE.sub("_", without_scheme).strip("._") or "stream"
        if self.path is None:
            return f"camera{self.camera}"
        whole = self.path if self.path.name else self.path.absolute().resolve()
        return whole.name if self.path.is_dir() else whole.stem


def shown(address: str) -> str:
    """An address without user, password, query and fragment, and without a path that may hold a password."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{address.partition(':')[0]}://..."
    host = f"[{host}]" if ":" in host else host
    path = parts.path if _PLAIN_PATH.fullmatch(parts.path) else "/..."
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"


def find_places(words: Sequence[str]) -> list[Place]:
    """The videos that are meant, in order; those of a folder or glob in natural order.

    A missing file is among them: whoever opens it says so.

    Raises:
        DataError: an address of another kind, a glob without matches, a list that can't be read or is empty.
        ConfigError: a number that is a camera as well as a file or folder.
    """
    return [place for word in words for place in _meant(word)]


def _meant(word: str) -> list[Place]:
    if (place := _elsewhere(word)) is not None:
        return [place]
    path = Path(_at_home(word))
    if path.suffix.lower() == _LIST_SUFFIX and path.is_file():
        return _listed(path)
    return _local(path)


def _elsewhere(word: str) -> Place | None:
    """The camera or address that a word means; None if it is a path."""
    if (address := _ADDRESS.match(word)) is not None and not os.path.lexists(word):
        scheme = address[1].lower()
        if scheme not in _SCHEMES:
            raise DataError(
                f"{scheme}: such addresses can't be read, only {', '.join(f'{name}://' for name in _SCHEMES)}; "
                "save it to a file first: ffmpeg -i ADDRESS clip.mp4"
            )
        return Place(address=word)
    if (camera := _CAMERA.fullmatch(word)) is not None:
        if camera[1] and os.path.lexists(word):
            raise ConfigError(
                f"{word} is a camera's number and also the name of something here: "
                f"give ./{word} or, for the camera, /dev/video{word}"
            )
        return Place(camera=int(camera[1] or camera[2]))
    return None


def _at_home(word: str) -> str:
    return word if os.path.lexists(word) else at_home(word)


def _local(path: Path) -> list[Place]:
    """A file, a folder of frames, the videos of a folder, or what a glob finds of these."""
    if not os.path.lexists(path) and glob.has_magic(str(path)):
        found = sorted(glob.glob(str(path), recursive=True), key=lambda name: (natural_key(name), name))
        if not found:
            raise DataError(f"nothing matches {path}")
        return [place for name in found for place in _local(Path(name))]
    if path.is_dir():
        entries = list_folder(path)
        files = [entry for entry in entries if entry.is_file()]
        videos = [file for file in files if file.suffix.lower() in READ_SUFFIXES]
        if videos and not any(file.suffix.lower() in FRAME_SUFFIXES for file in files):
            return [Place(path=video) for video in videos]
    return [Place(path=path)]


def _listed(path: Path) -> list[Place]:
    """What a text file lists: one a line, relative to its folder; blank lines and those that begin with # are not."""
    try:
        if path.stat().st_size > _LONGEST_LIST:
            raise DataError(f"{path} is too long for a list of videos, which has one a line")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a list of videos, one a line in UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    places: list[Place] = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if "\0" in word:
            raise DataError(f"{path} is not a list of videos, one a line: line {number} holds a zero byte")
        try:
            place = _elsewhere(word)
            places += [place] if place is not None else _local(path.parent / _at_home(word))
        except (ConfigError, DataError) as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not places:
        raise DataError(f"{path} lists no videos; it has one a line")
    return places


def is_images(place: Place) -> bool:
    """Whether it is a folder of frames or an image, which have no times."""
    path = place.path
    if path is None:
        return False
    try:
        return stat.S_ISDIR(path.stat().st_mode) or path.suffix.lower() in FRAME_SUFFIXES
    except OSError:
        return False
