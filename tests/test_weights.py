"""Files of weights in whatever form people have them: read, or refused in one line that says what they are."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stmask.errors import CheckpointError
from stmask.weights import as_in, named_tensors, read_file, tensors_of

STATE = {"backbone.conv1.weight": torch.arange(4.0), "fpn.bias": torch.ones(2)}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


def read(path: Path) -> dict[str, Tensor]:
    return tensors_of(read_file(path), source=str(path))


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        STATE | {"epoch": 3, "arch": "resnet", "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {name: torch.nn.Parameter(value) for name, value in STATE.items()},
        *(prefixed(p) for p in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.")),
        {"backbone._orig_mod.conv1.weight": STATE["backbone.conv1.weight"], "fpn.module.bias": STATE["fpn.bias"]},
        {"state_dict": prefixed("model._orig_mod."), "epoch": 3, "loss": torch.ones(1)},
        {"model": STATE, "model_ema": prefixed("module."), "epoch": 3},
        {"model": {"state_dict": prefixed("module.model.")}},
        {"my_network": STATE},
    ],
)
def test_the_same_tensors_from_every_wrapper(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    tensors = read(tmp_path / "w.pth")
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], value) for name, value in STATE.items())


def test_safetensors_whatever_the_name(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "w.bin", metadata={"format": "pt"})
    assert read(tmp_path / "w.bin").keys() == STATE.keys()
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x3C20)  # its length begins with " <"
    (tmp_path / "page").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert read_file(tmp_path / "page").keys() == {"a"}
    cut = (tmp_path / "w.bin").read_bytes()[:-3]
    (tmp_path / "w.safetensors").write_bytes(cut)
    with pytest.raises(CheckpointError, match=r"w\.safetensors is truncated or not a safetensors file"):
        read(tmp_path / "w.safetensors")


def stored(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def array_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: zipped("w.pth", stored(STATE)), r"is a zip archive of w\.pth: unpack it first"),
        (lambda: zipped("w/data.pkl", bytes(10_000)), "is a compressed archive, which PyTorch does not write"),
        (lambda: tarred("w.pth", b""), "is a tar archive: unpack"),
        (lambda: gzip.compress(stored(STATE)), "is a gzip archive: unpack"),
        (array_file, "is a NumPy array"),
        (scripted, "is a TorchScript program"),
        (
            lambda: stored({"model": STATE, "args": argparse.Namespace(lr=1)}),
            r"\(argparse\.Namespace\); .* could run code",
        ),
        (lambda: stored([1]), "holds a list, not the dict"),
        (lambda: stored({0: torch.ones(1)}), r"names its tensors by int \(0\)"),
        (lambda: stored({"fpn.\nbias": torch.ones(1)}), r"names a tensor 'fpn\.\\nbias', as no network does"),
        (lambda: stored({}), r"holds no tensors \(nothing, \.\.\)"),
        (lambda: stored({"state_dict": {}}), "holds no tensors"),
        (lambda: stored({"epoch": 3}), r"holds no tensors \(epoch, \.\.\)"),
        (lambda: stored({"teacher": STATE, "student": STATE}), r"several sets of weights \(teacher, student\)"),
        (lambda: stored(STATE | prefixed("module.")), r"twice, as backbone\.conv1\.weight and module\.backbone"),
        (lambda: stored({"state_dict": {"fpn.bias": None}}), r"fpn\.bias is of type NoneType, not a tensor"),
        (lambda: stored(STATE | {"head.bias": "text"}), r"head\.bias is of type str, not a tensor"),
    ],
)
def test_what_cannot_be_read_is_named(content: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content())
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "w.pth")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it: opened, it would wait for ever
    for path, message in (
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
        (tmp_path / "no", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_file(path)


def test_a_dict_within_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="dicts within dicts"):
        read(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: torch.eye(3).to_sparse(), "is sparse"),
        (lambda: torch.eye(3).to_sparse_csr(), "is sparse"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "sparse or nested"),
        (lambda: torch.zeros(3, device="meta"), "has no values"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8), "is quantised"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "complex"),
        (lambda: torch.zeros(1).expand(10**7, 10**7), r"the shape \(10000000, 10000000\), which is larger"),
    ],
)
def test_tensors_that_are_not_arrays_of_numbers(value: Callable[[], Tensor], message: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"fpn.bias": torch.ones(2), "fpn.weight": value()}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w\.pth: the tensor fpn\.weight .*{message}"):
        read(tmp_path / "w.pth")


class Lie:
    """Pickled as a tensor of more values than its storage has."""

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.zeros(4)._typed_storage()
        return (torch._utils._rebuild_tensor_v2, (storage, 0, (1000, 1000), (1000, 1), False, {}))


class Given:
    """Pickled as a call, with what the object gets besides."""

    def __init__(self, *how: Any) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return self.how


def test_attributes_in_a_file_are_not_taken_for_methods(tmp_path: Path) -> None:
    odd = dict.fromkeys(("items", "keys", "values", "get", "detach", "to", "numel", "isfinite", "untyped_storage"), "x")
    tensors = {
        name: Given(torch._utils._rebuild_parameter_with_state, (value, False, OrderedDict(), odd))
        for name, value in STATE.items()
    }
    versions = Given(OrderedDict, (), odd, None, iter({"": {"version": 1}}.items()))
    inner = Given(OrderedDict, (), odd | {"_metadata": versions}, None, iter(tensors.items()))
    torch.save(Given(OrderedDict, (), odd, None, iter({"state_dict": inner}.items())), tmp_path / "w.pth")
    found = read(tmp_path / "w.pth")
    assert all(torch.equal(found[name].to(torch.float64), value.double()) for name, value in STATE.items())
    assert vars(read_file(tmp_path / "w.pth")["state_dict"]) == {"_metadata": {"": {"version": 1}}}


def test_changed_bytes_are_found_by_their_checksums(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"w": torch.arange(1000.0)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(100.0, 110).numpy().tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.pth is damaged: its content does not match its checksums"):
        read_file(file)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(1000.0)}, file)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_file(file)["w"], torch.arange(1000.0))


@pytest.mark.parametrize(
    ("new_format", "message"), [(True, "larger than its stored data"), (False, "truncated or not")]
)
def test_a_shape_larger_than_its_data(new_format: bool, message: str, tmp_path: Path) -> None:
    torch.save({"fpn.bias": Lie()}, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.tensor([1.0, torch.nan]), "w: weight holds values that are NaN or infinite"),
        (torch.tensor([1.0, -torch.inf], dtype=torch.float16), "NaN or infinite"),
        (torch.tensor([1e300, 1.0], dtype=torch.float64), "NaN or infinite"),  # in the network's precision
        (torch.tensor([1, 2]), "w: weight holds int64, not real numbers"),
        (torch.tensor([True, False]), "w: weight holds bool, not real numbers"),
    ],
)
def test_values_that_are_not_weights(given: Tensor, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        as_in({"weight": torch.zeros(2)}, {"weight": given}, source="w")


def test_values_in_other_precisions() -> None:
    own = {"weight": torch.zeros(2), "num_batches_tracked": torch.tensor(0)}
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn):
        given = {"weight": torch.tensor([0.5, -2.0]).to(dtype), "num_batches_tracked": torch.tensor(7.0)}
        taken = as_in(own, given, source="w")
        assert taken["weight"].tolist() == [0.5, -2.0]
        assert {name: value.dtype for name, value in taken.items()} == {
            name: value.dtype for name, value in own.items()
        }
    with pytest.raises(CheckpointError, match="num_batches_tracked holds values that are NaN"):
        as_in(own, {"num_batches_tracked": torch.tensor(torch.nan)}, source="w")


def test_names_of_ours_are_kept_as_they_are() -> None:
    """A user's backbone may well have a part called `module`."""
    assert list(named_tensors({"model.backbone.module.weight": torch.ones(1)}, source="w")) == [
        "model.backbone.module.weight"
    ]
