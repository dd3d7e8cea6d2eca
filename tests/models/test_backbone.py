from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from stmask.errors import CheckpointError
from stmask.models import ResNet
from stmask.models.deform import ModulatedDeformConv


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
    with pytest.raises(CheckpointError, match="is not a state dict"):
        ResNet(depth=18, weights=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="one of 18, 34, 50, 101, got 20"):
        ResNet(depth=20)
