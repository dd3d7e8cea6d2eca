"""Reads files of weights without running code: PyTorch or safetensors, in any wrapper, as plain tensors."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stmask.archives import check_archive
from stmask.errors import CheckpointError

_SHOWN = 3
_HEAD = 512  # bytes that identify a file
_LONGEST_HEADER = 100_000_000  # of safetensors: its length comes first, then JSON
_LEGACY_PICKLES = 4  # before PyTorch 1.6: magic number, version, system, and what was saved
_MAGIC = {
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x89HDF": "an HDF5 file (Keras), not one of PyTorch",
    b"\x93NUMPY": "a NumPy array, not a file of PyTorch",
    b"version https://git-lfs": "a Git LFS pointer, not the weights: fetch the file itself (git lfs pull)",
}
_KINDS = (Tensor, torch.nn.Parameter)
_LONGEST_NAME = 200
_VERSIONS = "_metadata"  # of the modules in a state dict, an attribute of it
_TAR, _TAR_MAGIC = 257, b"ustar"
# where other programs put a network's tensors in what they save, best first
_ENTRIES = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights", "params")
_DEPTH = 8  # of entries within entries
_WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_HOLDERS = {"model", "network", "net"}  # what a training program calls the network in it


def read_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dict in a file of torch.save or of safetensors, tensors and plain values only.

    Raises:
        CheckpointError: missing, not a weights file (the message says what it looks like), truncated, or with code
            inside.
    """
    source = Path(path)
    try:
        if source.exists() and not source.is_file():
            raise CheckpointError(f"cannot read the checkpoint {source}: it is not a file")
        with source.open("rb") as handle:
            head = handle.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(f"cannot read the checkpoint {source}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {source}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL character, half of a surrogate pair
        raise CheckpointError(f"cannot read the checkpoint {str(source)!a}: {error}") from error
    of_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER
    if not of_safetensors and (what := _other_format(source, head)):  # the length may look like a signature
        raise CheckpointError(f"{source} is {what}")
    content = _read_safetensors(source) if of_safetensors else _read_torch(source, head)
    if not isinstance(content, dict):
        raise CheckpointError(f"{source} holds a {type(content).__name__}, not the dict of a checkpoint")
    _strip_attributes(content)
    return content


def tensors_of(content: Mapping[Any, Any], *, source: str) -> dict[str, Tensor]:
    """The tensors of a network that another program saved, by the network's own names.

    Entries around them (`state_dict`, `model`, ..), what is saved beside them (`epoch`, ..) and the prefixes of
    torch.compile, distributed training and a program's own module (`_orig_mod.`, `module.`, `model.`) are left out.

    Raises:
        CheckpointError: there are none, or as `named_tensors`.
    """
    tensors: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, value in named_tensors(_state_of(content, source), source=source).items():
        plain = _plain_name(name)
        if origin.setdefault(plain, name) != name:
            raise CheckpointError(f"{source} holds {plain} twice, as {origin[plain]} and {name}: save only one of them")
        tensors[plain] = value
    return tensors


def named_tensors(state: Mapping[Any, Any], *, source: str) -> dict[str, Tensor]:
    """The tensors of a state dict, as dense arrays of numbers; what is not a parameter (`epoch`) is left out.

    Raises:
        CheckpointError: names that are not strings, something else in place of a tensor, or a tensor that is sparse,
            quantised, complex, without values, or of a shape larger than its stored data; the first is named.
    """
    tensors = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{source} names its tensors by {type(name).__name__} ({name!r}), not as networks do")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise CheckpointError(f"{source} names a tensor {name[:_LONGEST_NAME]!r}, as no network does")
        if isinstance(value, Tensor):
            if type(value) not in _KINDS:
                raise CheckpointError(f"{source}: the tensor {name} is a {type(value).__name__}, not a plain tensor")
            bare = Tensor.detach(value)  # the file may have set attributes on it, such as another `detach`
            if flaw := _flaw(bare):
                raise CheckpointError(f"{source}: the tensor {name} {flaw}")
            tensors[name] = bare
        elif "." in name and not name.endswith("_extra_state"):
            raise CheckpointError(f"{source}: {name} is of type {type(value).__name__}, not a tensor")
    if not tensors:
        held = ", ".join(map(str, list(state)[:_SHOWN]))
        raise CheckpointError(f"{source} is not a file of weights: it holds no tensors ({held or 'nothing'}, ..)")
    return tensors


def as_in(own: Mapping[str, Tensor], given: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The given tensors in the number types of the network's own tensors of the same names.

    Raises:
        CheckpointError: integers in place of weights, or values that are not finite; the tensor is named.
    """
    converted = {}
    for name, value in given.items():
        if own[name].is_floating_point() and not value.is_floating_point():
            raise CheckpointError(f"{source}: {name} holds {str(value.dtype).removeprefix('torch.')}, not real numbers")
        new = converted[name] = value.to(own[name].dtype)
        if not bool((new if new.is_floating_point() else value.float()).isfinite().all()):
            raise CheckpointError(f"{source}: {name} holds values that are NaN or infinite")
    return converted


def is_counter(name: str) -> bool:
    """Whether a tensor counts the batches of a batch norm: old files lack those, and nothing computes with them."""
    return name.endswith("num_batches_tracked")


def _other_format(source: Path, head: bytes) -> str | None:
    """What a file that is not a weights file is, judging by its first bytes."""
    if not head:
        return "empty"
    if head.lstrip().startswith(b"<"):
        return "a web page, not the weights: the download got a page instead of the file"
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if head[_TAR:].startswith(_TAR_MAGIC):
        return "a tar archive: unpack it first"
    return _other_archive(source) if head.startswith(b"PK") else None


def _other_archive(source: Path) -> str | None:
    """What a zip file that torch.save did not write is; None if it did, or if the file is truncated."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    names = [member.filename for member in members]
    if any("/code/" in name for name in names):
        return "a TorchScript program, not weights: save its state_dict()"
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        held = ", ".join(names[:_SHOWN]) + (", .." if len(names) > _SHOWN else "")
        return f"a zip archive of {held or 'nothing'}: unpack it first"
    if sum(member.file_size for member in members) > source.stat().st_size:  # PyTorch stores without compressing
        return "a compressed archive, which PyTorch does not write"
    return None


def _read_safetensors(source: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(source)
    except Exception as error:  # of the library's own kinds
        raise CheckpointError(f"{source} is truncated or not a safetensors file") from error


def _read_torch(source: Path, head: bytes) -> Any:
    check_archive(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickles; the error below names the file
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not head.startswith((b"PK", b"\x80")):
            raise CheckpointError(f"{source} is not a PyTorch checkpoint") from error
        if head.startswith(b"\x80") and _ends_within_a_pickle(source):
            raise CheckpointError(f"{source} is truncated") from error
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{source} holds Python objects besides tensors and plain values{f' ({found[1]})' if found else ''}; "
            "reading it could run code: ask for a file with only its state_dict"
        ) from error
    except Exception as error:  # a damaged file can make its reader fail in any way
        if "resize storage" in str(error):
            raise CheckpointError(f"{source} holds a tensor whose shape is larger than its stored data") from error
        raise CheckpointError(f"{source} is truncated or not a PyTorch checkpoint") from error


def _strip_attributes(content: Any) -> None:
    """Strips attributes that a file may set on its OrderedDicts, which would shadow methods of the same name."""
    seen, left = set(), [content]
    while left:
        value = left.pop()
        if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            left += dict.values(value) if isinstance(value, dict) else value
            if isinstance(value, OrderedDict):
                versions = vars(value).get(_VERSIONS)
                vars(value).clear()
                if isinstance(versions, dict):
                    vars(value)[_VERSIONS] = versions
                    left.append(versions)


def _ends_within_a_pickle(source: Path) -> bool:
    """Whether a file of an old PyTorch version, a series of pickles, is truncated inside one; runs nothing in it."""
    size = source.stat().st_size
    with source.open("rb") as handle:
        try:
            for _ in range(_LEGACY_PICKLES):
                if handle.tell() < size:
                    deque(pickletools.genops(handle), maxlen=0)
        except ValueError:
            return True
    return False


def _state_of(content: Mapping[Any, Any], source: str) -> Mapping[Any, Any]:
    """The innermost entry that holds the tensors themselves."""
    for _ in range(_DEPTH):
        inner = {key: value for key, value in content.items() if _holds_network(key, value)}
        known = [key for key in _ENTRIES if key in inner]
        if not known and any(isinstance(value, Tensor) for value in content.values()):
            return content
        if not known and len(inner) > 1:
            names = ", ".join(map(str, inner))
            raise CheckpointError(f"{source} holds several sets of weights ({names}): save one of them alone")
        if not inner:
            return content
        content = inner[known[0]] if known else next(iter(inner.values()))
    raise CheckpointError(f"{source} holds dicts within dicts within dicts: save only the state_dict")


def _holds_network(name: Any, entry: Any) -> bool:
    """Whether an entry is a state dict, or wraps one."""
    if not isinstance(entry, Mapping):
        return False
    tensors = any(isinstance(key, str) and isinstance(value, Tensor) for key, value in entry.items())
    return tensors or name == "state_dict" or any(isinstance(entry.get(key), Mapping) for key in _ENTRIES)


def _plain_name(name: str) -> str:
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _HOLDERS:
        parts.pop(0)
    return ".".join(parts)


def _flaw(value: Tensor) -> str | None:
    """Why a tensor is not a dense array of numbers."""
    if value.is_nested or value.layout is not torch.strided:
        return "is sparse or nested"
    if value.device.type == "meta":
        return "has no values, only a shape"
    if value.is_quantized:
        return "is quantised: save the weights before quantisation"
    if value.is_complex():
        return "holds complex numbers"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"has the shape {tuple(value.shape)}, which is larger than its stored data"
    return None
