"""`model.backbone.weights=imagenet`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub.server import Server
from torchvision.models import resnet18

from stmask.checkpoints import build_model, skeleton
from stmask.config import compose, plain
from stmask.errors import ConfigError, DownloadError
from stmask.hub import PublishedFile
from stmask.models.layers import ResNet

Publish = Callable[..., PublishedFile]


@pytest.fixture
def published(server: Server, publish: Publish) -> dict[str, torch.Tensor]:
    """A ResNet-18 in the place of torchvision's, with the hash that the table has for it."""
    network = resnet18()
    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    server.content = stream.getvalue()
    publish("resnet18_imagenet", sha256=hashlib.sha256(server.content).hexdigest()[:8], serves=("backbone",))
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


def test_imagenet_weights_are_fetched_once(server: Server, published: dict[str, torch.Tensor]) -> None:
    for _ in range(2):
        backbone = ResNet(depth=18, weights="imagenet")
        assert torch.equal(backbone.state_dict()["layer3.0.conv2.weight"], published["layer3.0.conv2.weight"])
    ResNet(depth=18, weights="resnet18_imagenet")
    assert len(server.asked) == 1


def test_from_a_configuration(server: Server, published: dict[str, torch.Tensor]) -> None:
    overrides = ["model/backbone=r18", "model.backbone.weights=imagenet", "model/temporal=none", "model.channels=16"]
    config = plain(compose("train", overrides).model)
    assert server.asked == []  # composing and checking fetch nothing
    skeleton(config, num_classes=1)  # nor does what a checkpoint describes
    assert server.asked == []
    model = build_model(config, num_classes=1)
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], published["conv1.weight"])


@pytest.mark.parametrize("settings", [{"width": 16}, {"norm": "group"}])
def test_other_networks_have_none(server: Server, publish: Publish, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="weights=imagenet are of width=64, norm=batch: got"):
        ResNet(depth=18, weights="imagenet", **settings)  # type: ignore[arg-type]
    assert server.asked == []


def test_other_names_and_paths(tmp_path: Path, server: Server, published: dict[str, torch.Tensor]) -> None:
    (tmp_path / "mine.pth").write_bytes(server.content)
    ResNet(depth=18, weights=str(tmp_path / "mine.pth"))
    assert server.asked == []
    with pytest.raises(ConfigError, match=r"can't be given as model\.backbone\.weights: give checkpoint=STMask"):
        ResNet(depth=18, weights="STMask_plus_base")


def test_a_file_that_lies(server: Server, published: dict[str, torch.Tensor], cache: Path) -> None:
    server.content = server.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="what came has the SHA-256 .*, and resnet18_imagenet has one that begins"):
        ResNet(depth=18, weights="imagenet")
    assert not (cache / "weights" / "resnet18_imagenet.pth").exists()
