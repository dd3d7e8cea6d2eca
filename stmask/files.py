"""Files, written whole or not at all, and read with one clear error."""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from stmask.errors import ConfigError, DataError, OutputError

_UMASK_FREE_MODE = 0o644  # mkstemp makes private files; results are to be shared
_STEM_LENGTH = 50  # of a temporary name, so that it fits wherever the name itself does


def at_home(path: str, key: str = "") -> str:
    """A path with `~` or `~user` at its beginning replaced by the home folder; any other as it is.

    Raises:
        ConfigError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = path.partition("/")[0]
        where = f"{key}={path}" if key else path
        raise ConfigError(f"{where}: no user {user[1:]!r} on this machine; a folder of that name is ./{user}")
    return expanded


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any failure.

    The temporary name keeps the suffix of `path`, so that writers that depend on it (video, image) still work.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    made: list[Path] = []
    temporary: Path | None = None
    try:
        require_writable(target)  # for a folder the rename would fail after the work; a device would become a file
        made = _make_folders(target.parent)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem[:_STEM_LENGTH]}.", suffix=f".tmp{target.suffix}"
        )
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(_UMASK_FREE_MODE)
        temporary.replace(target)
        made = []
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # others may be using it by now
                folder.rmdir()


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raises OutputError, before any work is done, if a file obviously cannot be written at this path."""
    target = Path(path)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(target.stat().st_mode):
                raise OutputError(f"cannot write {target}: it is not a file but a folder or a device")
        folder = next(place for place in target.absolute().parents if os.path.lexists(place))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write into {folder}")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from error


def _make_folders(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the new ones, the innermost first."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error
    return new


@contextmanager
def atomic_open(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for "w" and "wb", but `path` appears only when the block ends without an error."""
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    with atomic_path(path) as temporary, temporary.open(mode, encoding=None if "b" in mode else "utf-8") as handle:
        yield handle


def require_distinct(output: str | os.PathLike[str], *sources: str | os.PathLike[str]) -> None:
    """Raises OutputError if `output` is one of the files that are read."""
    for source in sources:
        if Path(output).resolve() == Path(source).resolve():
            raise OutputError(f"{output} is also an input and would be overwritten: give another name")


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON, atomically."""
    with atomic_open(path) as handle:
        json.dump(value, handle, indent=indent)
        handle.write("\n")


def require_file(path: str | os.PathLike[str]) -> None:
    """Refuses what may block forever when read in place of a regular file: a pipe, a device.

    Raises:
        DataError: it is there, and not a file.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise DataError(f"cannot read {path}: it is not a file")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: see `open_json`.
    """
    with open_json(path) as handle:
        return parse_json(str(handle.read(), "utf-8"))


def parse_json(text: str) -> Any:
    """The value of a JSON text; `open_json` turns what it raises into messages."""
    return JSON.decode(text)


@contextmanager
def open_json(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    """A JSON file, opened after its byte order mark if it has one; read and parse it within the block.

    Raises:
        DataError: the file is missing, unreadable, of another encoding than UTF-8 or not JSON; the message names it,
            the way out and, for a syntax error, line and column.
    """
    source = Path(path)
    try:
        with source.open("rb") as handle:
            require_utf8(handle.peek(4)[:4], source)
            if handle.peek(3).startswith(codecs.BOM_UTF8):
                handle.read(3)
            yield handle
    except FileNotFoundError as error:
        raise DataError(f"no such file: {source}") from error
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror or error}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{source} {not_json(error)}") from error


def require_utf8(start: bytes, source: str | os.PathLike[str]) -> None:
    """Raises DataError if a file that starts with these bytes is compressed or of another encoding."""
    for mark, kind in _OTHER_FILES.items():
        if start.startswith(mark):
            raise DataError(f"{source} is {kind} and not JSON: unpack it first")
    if b"\0" in start or start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        wide = start[:2] == b"\0\0" or start[2:4] == b"\0\0"
        raise DataError(f"{source} is saved as UTF-{32 if wide else 16}: save it as UTF-8")


_OTHER_FILES = {
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zX": "an xz file",
}


class _RepeatedKeyError(ValueError):
    """An object has a duplicate key, of which a dict would keep the last."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _RepeatedKeyError(f"has the key {repeated[:60]!a} twice in one object")
    return found


JSON = json.JSONDecoder(object_pairs_hook=_without_repeats)


def not_json(error: Exception) -> str:
    """What an error of reading or parsing JSON says about the file, to be put after its name."""
    if isinstance(error, json.JSONDecodeError):
        empty = "" if error.doc.strip() else ": it is empty"
        return f"is not valid JSON (line {error.lineno}, column {error.colno}){empty}"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 (it holds the byte 0x{error.object[error.start]:02x}): save it as UTF-8"
    if isinstance(error, RecursionError):
        return "is nested too deeply to be read"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, _RepeatedKeyError):
        return str(error)
    return "holds an integer of thousands of digits"  # the parser's only other error
