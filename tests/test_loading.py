from __future__ import annotations

from typing import Any

import pytest
import torch

from stmask.errors import ConfigError
from stmask.loading import half_precision, pick_device


@pytest.mark.parametrize(
    "name",
    ["mps", "xpu", "meta", "hpu", "vulkan", "cpu:1", "cuda:", "cuda:-1", "cuda:x", "cuda:٣", "CPU", "gpu", "0", "",
     "cpu\n", None, 0, True, 1.5, ["cpu"]],
)  # fmt: skip
def test_other_devices_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N, got"):
        pick_device(name)


@pytest.mark.parametrize(("gpus", "auto"), [(0, "cpu"), (2, "cuda")])
def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch, gpus: int, auto: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert pick_device("auto") == torch.device(auto)
    assert pick_device("cpu") == torch.device("cpu")
    for name in ["cuda", "cuda:0", "cuda:1"][: gpus and 3]:
        assert pick_device(name) == torch.device(name)
    for name in ["cuda:2", "cuda:999999999"] if gpus else ["cuda", "cuda:0"]:
        with pytest.raises(ConfigError, match=f"device={name}: this machine has {gpus} GPUs"):
            pick_device(name)


def test_half_precision_is_what_the_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stmask.loading.computes_bfloat16", lambda: True)
    assert half_precision(torch.device("cpu")) is torch.bfloat16
    monkeypatch.setattr("stmask.loading.computes_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="half=true: this CPU computes no bfloat16"):
        half_precision(torch.device("cpu"))
    for able, wanted in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, able=able: able)
        assert half_precision(torch.device("cuda")) is wanted
