"""Inspects a file of torch.save before torch reads it: nothing in it is run or unpacked."""

from __future__ import annotations

import pickletools
import re
import tarfile
import zipfile
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO

from stmask.errors import CheckpointError
from stmask.signatures import shown

_ZIP = b"PK"
_PICKLE = b"\x80"
# in the one folder of an archive: the pickle, the tensors' bytes, and torch's own metadata
_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment)"
)
_LARGEST_PICKLE = 64 << 20  # bytes; that of a network with its optimiser takes a few hundred thousand
_CHUNK = 1 << 20
_LEGACY_PICKLES = 5  # before PyTorch 1.6: magic number, version, system, what was saved, names of its storages
# what a pickle may name: tensors, their parts, and the collections that hold them
_GLOBAL = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch (Size|Tensor|device|\w+Storage|b?float\d*\w*|q?u?int\d*|complex\d*|bool|double|half|long|short|per_\w+)"
    r"|torch\.storage (Unt|T)ypedStorage|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
    r"|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2"
)
_OTHER_WAYS_TO_CODE = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})


def check_archive(source: Path) -> None:
    """Refuses files that torch.save does not write, by their content and before any reader interprets it.

    Raises:
        CheckpointError: an archive with other members than torch's, or packed ones; a tar file; a pickle that names
            anything but tensors, or is larger than that of any network.
    """
    with source.open("rb") as handle:
        head = handle.read(2)
        handle.seek(0)
        if head == _ZIP:
            _check_zip(handle, source)
        elif head[:1] == _PICKLE:
            _check_pickles(handle, source)
        elif _is_tar(handle):
            raise CheckpointError(f"{source} is a tar archive, not a PyTorch checkpoint (or one of before 2017)")


def _check_zip(handle: IO[bytes], source: Path) -> None:
    try:
        archive = zipfile.ZipFile(handle)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{source} is truncated") from error
    members = archive.infolist()
    names = [member.filename for member in members]
    if odd := next((name for name in names if not _MEMBER.fullmatch(name)), None):
        raise CheckpointError(f"{source} is an archive with {odd[:200]!r} in it, not a PyTorch checkpoint")
    if len(set(names)) < len(names) or len({name.partition("/")[0] for name in names}) > 1:
        raise CheckpointError(f"{source} is an archive with a duplicate member, not a PyTorch checkpoint")
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise CheckpointError(f"{source} is compressed, as torch.save never writes: unpack the checkpoint in it")
    try:
        for member in members:
            if not member.CRC:
                del member.CRC  # it was told not to compute checksums (torch.serialization.set_crc32_options)
            with archive.open(member) as content:
                if not member.filename.endswith("/data.pkl"):
                    while content.read(_CHUNK):  # reads to the end, where the checksum is compared
                        pass
                elif member.file_size > _LARGEST_PICKLE:
                    raise CheckpointError(f"{source} describes {member.file_size} bytes of objects, not a network")
                else:
                    _check_pickle(BytesIO(content.read()), source)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        what = "damaged: its content does not match its checksums" if "CRC" in str(error) else "truncated"
        raise CheckpointError(f"{source} is {what}; fetch or copy it again") from error


def _check_pickles(handle: IO[bytes], source: Path) -> None:
    """A file from before PyTorch 1.6: a series of pickles, then the tensors' bytes."""
    data = BytesIO(handle.read(_LARGEST_PICKLE))
    for _ in range(_LEGACY_PICKLES):
        if data.tell() < len(data.getbuffer()):
            _check_pickle(data, source)


def _check_pickle(data: IO[bytes], source: Path) -> None:
    """Checks one pickle, up to its end. A damaged one is left to the reader, which reports it."""
    try:
        for operation, argument, _ in pickletools.genops(data):
            foreign = operation.name == "GLOBAL" and not _GLOBAL.fullmatch(str(argument))
            if foreign or operation.name in _OTHER_WAYS_TO_CODE:
                what = f" ({shown(str(argument).replace(' ', '.'))[1:-1]})" if foreign else ""
                raise CheckpointError(
                    f"{source} holds Python objects besides tensors and plain values{what}; reading it could run code: "
                    "ask for a file with only its state_dict"
                )
    except (ValueError, IndexError):
        data.seek(0, SEEK_END)


def _is_tar(handle: IO[bytes]) -> bool:
    try:
        with tarfile.open(fileobj=handle, mode="r:"):
            return True
    except (tarfile.TarError, EOFError, ValueError):
        return False
