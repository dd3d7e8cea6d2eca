"""Published files, fetched when they are first asked for, and verified whenever they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from stmask.errors import CheckpointError, ConfigError, DownloadError, OutputError
from stmask.hub.cache import VARIABLE, cache_folder, locked, record, record_of, recorded, sha256_of
from stmask.hub.download import OnBytes, download, shown
from stmask.hub.table import PublishedFile, find, names

MIRROR = "STMASK_MIRROR"
_FOLDER = "weights"
_CHUNK = 8 << 20
_WORDS = {"checkpoint": "checkpoint", "init_from": "init_from", "backbone": "model.backbone.weights"}
_log = logging.getLogger(__name__)

State = Literal["absent", "verified", "recorded", "different"]
"""What `state_of` finds of a published file in the cache."""


def path_of(file: PublishedFile) -> Path:
    """Where a published file is kept, whether it is there or not."""
    return cache_folder() / _FOLDER / file.file


def fetched(name: str, *, to_serve: str | None = None) -> Path:
    """A published file in the cache, fetched if it is not there yet, and verified.

    Several processes may ask at once: one fetches, the others wait for it.

    Args:
        name: of the table.
        to_serve: what it is to be given as: "checkpoint", "init_from" or "backbone".

    Raises:
        ConfigError: the table has no such name, or the file can't serve as that.
        DownloadError: what came in place of the file, or that it is another file than the one that was asked for.
        OutputError: the cache can't be written to.
    """
    file = find(name)
    if to_serve is not None and to_serve not in file.serves:
        instead = " or ".join(f"{_WORDS[way]}={name}" for way in file.serves)
        raise ConfigError(
            f"{name} ({file.about}) can't be given as {_WORDS[to_serve]}: "
            + (f"give {instead}" if instead else "stmask does not read it")
        )
    path = path_of(file)
    if file.warning:
        _log.warning("%s: %s", name, file.warning)
    if not path.exists():
        with locked(path):
            if not path.exists():
                _fetch(file, path)
    _verify(file, path)
    return path


def local(said: str, *, to_serve: str) -> Path:
    """A published file's path for its name, see `fetched`; for anything else, that path."""
    return fetched(said, to_serve=to_serve) if said in names() else Path(said)


def state_of(file: PublishedFile) -> State:
    """Whether a published file is in the cache: not; with the SHA-256 that its authors published ("verified"), or
    that it had at its first use ("recorded"); or with another one.
    """
    path = path_of(file)
    if not path.exists():
        return "absent"
    digest, known = sha256_of(path), recorded(path)
    if not digest.startswith(file.sha256) or known not in (None, digest):
        return "different"
    return "verified" if file.sha256 else "recorded"


def _verify(file: PublishedFile, path: Path) -> None:
    digest, known = sha256_of(path), recorded(path)
    if not digest.startswith(file.sha256):
        raise DownloadError(
            f"{path} is not {file.name}: its SHA-256 begins with {digest[: len(file.sha256)]}, not {file.sha256}; "
            "remove it, and it is fetched again"
        )
    if known is None:
        record(path, digest)
    elif known != digest:
        raise DownloadError(
            f"{path} has changed since it was first used (its SHA-256 is {digest}): remove it, and it is fetched again"
        )


def _fetch(file: PublishedFile, path: Path) -> None:
    """Puts a file into the cache, whole and verified, or leaves what came of it for the next attempt."""
    source = _source(file)
    partial = path.with_name(f"{file.file}.part")
    _log.info("fetching %s from %s", file.name, shown(source))
    try:
        with _progress(file.name) as on_bytes:
            if (place := _local(source)) is None:
                download(source, partial, on_bytes=on_bytes)
            else:
                _copy(place, partial, on_bytes)
        if problem := _other_file(file, partial, path):
            partial.unlink()
            raise DownloadError(f"{shown(source)}: {problem}")
        partial.replace(path)
    except DownloadError as error:
        raise DownloadError(f"{error}; try again later, or save the file by hand as {path}") from error
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; {VARIABLE}=FOLDER keeps downloads elsewhere"
        ) from error
    _log.info("%s: %.1f MB, kept as %s", file.name, path.stat().st_size / 1e6, path)


def _other_file(file: PublishedFile, partial: Path, path: Path) -> str | None:
    """Why what came is not the file that was asked for; None if nothing says so."""
    digest = sha256_of(partial)
    if not digest.startswith(file.sha256):
        return f"what came has the SHA-256 {digest}, and {file.name} has one that begins with {file.sha256}"
    if recorded(path) not in (None, digest):
        return (
            f"what came has the SHA-256 {digest}, another one than at its first use; if the authors have replaced the "
            f"file, remove {record_of(path)}"
        )
    from stmask.weights import read_file  # and PyTorch, only where something was fetched

    try:
        read_file(partial)
    except CheckpointError as error:
        return str(error).replace(str(partial), "what came")
    return None


def _source(file: PublishedFile) -> str:
    """The address to fetch from: the mirror's, if there is one, else the authors'.

    Raises:
        ConfigError: the mirror is neither an address nor a folder.
    """
    mirror = os.environ.get(MIRROR, "")
    if not mirror:
        return file.address
    if "://" in mirror:
        if urlsplit(mirror).scheme not in ("http", "https", "file"):
            raise ConfigError(f"{MIRROR} must be a folder, or an http, https or file address, got {shown(mirror)}")
        return f"{mirror.rstrip('/')}/{quote(file.file)}"
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{MIRROR}={mirror}: there is no such folder")
    return str(folder / file.file)


def _local(source: str) -> Path | None:
    """The path that a source is, or that a file address means; None for one of the network."""
    if "://" not in source:
        return Path(source)
    return Path(url2pathname(urlsplit(source).path)) if source.startswith("file:") else None


def _copy(source: Path, partial: Path, on_bytes: OnBytes) -> None:
    try:
        reader = source.open("rb")
    except OSError as error:
        raise DownloadError(f"{source}: {error.strerror or error}") from error
    with reader, partial.open("wb") as writer:
        total = source.stat().st_size
        while chunk := reader.read(_CHUNK):
            writer.write(chunk)
            on_bytes(writer.tell(), total)


@contextmanager
def _progress(name: str) -> Iterator[OnBytes]:
    """A bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda there, total: progress.update(bar, completed=there, total=total)
