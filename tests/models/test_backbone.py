from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from stmask.errors import CheckpointError
from stmask.models.layers import ResNet
from stmask.models.layers.deform import ModulatedDeformConv


@pytest.mark.parametrize(
    ("depth", "interval", "expected"),
    [
        (50, 2, {"layer2": [0, 2], "layer3": [0, 2, 4], "layer4": [0, 2]}),
        (101, 3, {"layer2": [0, 3], "layer3": [0, 3, 6, 9, 12, 15, 18, 21], "layer4": [0]}),
        (18, 1, {"layer2": [0, 1], "layer3": [0, 1], "layer4": [0, 1]}),
        (34, 0, {}),
    ],
)
def test_which_blocks_are_deformable(depth: int, interval: int, expected: dict[str, list[int]]) -> None:
    backbone = ResNet(depth=depth, dcn_interval=interval)
    found: dict[str, list[int]] = {}
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for index, block in enumerate(getattr(backbone, stage)):
            if isinstance(block.conv2, ModulatedDeformConv):
                found.setdefault(stage, []).append(index)
    assert found == expected


def test_a_narrow_one_has_a_quarter_of_the_weights() -> None:
    full, half = ResNet(depth=18), ResNet(depth=18, width=32)
    assert half.out_channels == {name: channels // 2 for name, channels in full.out_channels.items()}
    sizes = [sum(p.numel() for p in m.layer4.parameters()) for m in (full, half)]
    assert sizes[1] == pytest.approx(sizes[0] / 4, rel=0.01)


def test_group_norms() -> None:
    backbone = ResNet(depth=18, width=16, norm="group", dcn_interval=1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    assert backbone(torch.randn(1, 3, 64, 64))["C5"].isfinite().all()
    with pytest.raises(ValueError, match="only batch norms have"):
        ResNet(depth=18, norm="group", frozen_norm=True)
    with pytest.raises(ValueError, match="one of batch, group, got 'layer'"):
        ResNet(depth=18, norm="layer")


@pytest.mark.parametrize("interval", [0, 2])
def test_imagenet_weights_from_a_file(tmp_path: Path, interval: int) -> None:
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    backbone = ResNet(depth=18, dcn_interval=interval, weights=str(tmp_path / "resnet18.pth"))
    assert torch.equal(backbone.layer2[0].conv2.weight, source.layer2[0].conv2.weight)
    assert torch.equal(backbone.bn1.running_var, source.bn1.running_var)


@pytest.mark.parametrize(
    "rename",
    [
        lambda state: {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")},  # old files
        lambda state: {"state_dict": {f"module.{name}": v for name, v in state.items()}, "epoch": 3},
        lambda state: {f"backbone.{name}": v for name, v in state.items()} | {"head.fc.weight": torch.zeros(2, 2)},
        lambda state: {
            re.sub(r"^layer(\d)", lambda m: f"layers.{int(m[1]) - 1}", name): v for name, v in state.items()
        },
        lambda state: {name: v.half() for name, v in state.items()},
    ],
    ids=["without counters", "nested", "a classifier's", "yolact's names", "half precision"],
)
def test_weights_under_other_names(
    tmp_path: Path, rename: Callable[[dict[str, Tensor]], dict[str, object]], imagenet: dict[str, Tensor]
) -> None:
    torch.save(rename(imagenet), tmp_path / "w.pth")
    state = ResNet(depth=18, dcn_interval=2, weights=str(tmp_path / "w.pth")).state_dict()
    for name in ("layer2.0.conv2.weight", "bn1.running_var"):
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], imagenet[name], atol=1e-3, rtol=1e-3)
    assert state["bn1.num_batches_tracked"] == 0


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    return torchvision.models.resnet18().state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, "conv1.weight holds values that are NaN or infinite"),
        ({"bn1.bias": torch.zeros(64, dtype=torch.int64)}, "bn1.bias holds int64, not real numbers"),
        ({"bn1.bias": torch.zeros(63)}, r"first differences: bn1\.bias is \(63,\), here \(64,\)"),
        ({"bn1.bias": None}, "bn1.bias is of type NoneType, not a tensor"),
    ],
)
def test_weights_that_cannot_be_used_are_named(
    tmp_path: Path, change: dict[str, object], message: str, imagenet: dict[str, Tensor]
) -> None:
    torch.save(imagenet | change, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w\.pth.*{message}"):
        ResNet(depth=18, weights=str(tmp_path / "w.pth"))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 18, 36, 100])
def test_group_norms_of_any_width(width: int) -> None:
    backbone = ResNet(depth=18, width=width, norm="group").eval()
    assert backbone(torch.randn(1, 3, 32, 32))["C5"].shape == (1, 8 * width, 1, 1)


def test_a_fresh_deformable_convolution_is_half_a_plain_one() -> None:
    layer = ModulatedDeformConv(4, 6, stride=2)
    x = torch.randn(1, 4, 9, 8)
    plain = torch.nn.functional.conv2d(x, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(x), plain / 2, atol=1e-5, rtol=1e-5)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth does not fit this ResNet; first differences: layer1\.2"):
        ResNet(depth=18, weights=str(tmp_path / "w.pth"))


def test_a_missing_file_and_a_strange_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        ResNet(depth=18, weights=str(tmp_path / "none.pth"))
    (tmp_path / "w.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
        ResNet(depth=18, weights=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="one of 18, 34, 50, 101, got 20"):
        ResNet(depth=20)
