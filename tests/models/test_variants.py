"""Every variant of the network that the configuration groups can make: forward, backward, finite losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from stmask.checkpoints import build_model
from stmask.config import compose, conf_dir, plain
from stmask.models.layers import FPN, ProtoNet, ResNet
from stmask.models.stmask import PredictionHead, STMask, TemporalFusion
from stmask.models.stmask.losses import Criterion
from stmask.structures import FrameTargets

NUM_CLASSES = 3
SIZE = 64
SMALL = ["model.channels=16", "model.num_prototypes=6", "model.head.embedding_dim=8"]
SMALL_TEMPORAL = ["model.temporal.hidden=[8,8,16]"]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / "model" / group).glob("*.yaml"))


def build(backbone: str, head: str, align: str, temporal: str, *, frozen_norm: bool = False) -> STMask:
    groups = [f"model/backbone={backbone}", f"model/head={head}", f"model/head/align={align}"]
    groups += [f"model/temporal={temporal}", f"model.backbone.frozen_norm={frozen_norm}"]
    cfg = compose("train", [*groups, *SMALL, *(SMALL_TEMPORAL if temporal != "none" else [])])
    torch.manual_seed(0)
    return build_model(plain(cfg.model), num_classes=NUM_CLASSES)


def targets(size: int) -> tuple[FrameTargets, FrameTargets]:
    """Two objects that move, one of which leaves."""

    def frame(corners: list[list[float]], ids: list[int]) -> FrameTargets:
        boxes = torch.tensor(corners)
        masks = torch.zeros(len(ids), size, size, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, (boxes * size).int().tolist()):
            mask[y1:y2, x1:x2] = True
        return FrameTargets(boxes, torch.tensor(ids), masks, torch.tensor(ids))

    return frame([[0.1, 0.1, 0.5, 0.6], [0.4, 0.5, 0.9, 0.9]], [1, 3]), frame([[0.2, 0.1, 0.6, 0.6]], [1])


class Maps(nn.Module):
    """Stands where a backbone stands, and gives the maps that it gave before."""

    def __init__(self, maps: dict[str, Tensor]) -> None:
        super().__init__()
        self.maps = {name: value.detach().requires_grad_() for name, value in maps.items()}
        self.out_channels = {name: value.shape[1] for name, value in maps.items()}

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        return self.maps


@cache
def backbone_and_maps(backbone: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """Made once for all networks that differ in what follows it."""
    cfg = compose("train", [f"model/backbone={backbone}", "model.backbone.frozen_norm=false"])
    torch.manual_seed(0)
    module = instantiate(cfg.model.backbone, _convert_="all").train()
    return module, module(torch.randn(2, 3, SIZE, SIZE))


@cache
def parts(head: str, align: str, temporal: str) -> Any:
    groups = [f"model/head={head}", f"model/head/align={align}", f"model/temporal={temporal}", "model/backbone=r18"]
    return compose("train", [*groups, *SMALL, *(SMALL_TEMPORAL if temporal != "none" else [])]).model


def assert_gradients(named: dict[str, Tensor]) -> None:
    for name, value in named.items():
        assert value.grad is not None, f"{name} has no gradient"
        assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize(
    ("backbone", "head", "align", "temporal"),
    [
        *product(options("backbone"), options("head"), ["none", "ada", "ali"], ["none", "p3", "p4"]),
        *(("r18", "fca", align, "p4_small") for align in options("head/align")),
    ],
)
def test_forward_backward_and_losses(backbone: str, head: str, align: str, temporal: str) -> None:
    maps = Maps(backbone_and_maps(backbone)[1])
    torch.manual_seed(0)
    model = instantiate(parts(head, align, temporal), backbone=maps, num_classes=NUM_CLASSES, _convert_="all")
    predictions = model.train()(torch.randn(2, 3, SIZE, SIZE))
    anchors = predictions.anchors.shape[0]
    assert anchors == (64 + 16 + 4 + 1 + 1) * (9 if head == "fca9" else 3)
    assert predictions.prototypes.shape == (2, SIZE // 4, SIZE // 4, 6)
    norms = predictions.branches.everywhere()[1].norm(dim=-1)
    assert norms.shape == (2, anchors)
    active = norms[norms > 0]  # a cell that no unit of a tower so small reacts to has none
    assert len(active) > 0.9 * norms.numel()
    torch.testing.assert_close(active, torch.ones_like(active))
    report = Criterion()(predictions, targets(SIZE), clip_length=2, temporal=model.temporal)
    expected = {"box", "class", "centerness", "mask", "track"}
    assert set(report.terms) == expected | ({"shift_box", "shift_mask"} if temporal != "none" else set())
    assert all(value.isfinite() for value in report.terms.values())
    report.total.backward()
    assert_gradients(dict(model.named_parameters()))
    assert_gradients({name: maps.maps[name] for name in ("C3", "C4", "C5")})  # C2 is for other pyramids


@pytest.mark.slow
@pytest.mark.parametrize("backbone", options("backbone"))
def test_every_weight_of_a_backbone_learns(backbone: str) -> None:
    module, maps = backbone_and_maps(backbone)
    torch.stack([value.square().mean() for value in maps.values()]).sum().backward()
    assert_gradients({name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad})
    backbone_and_maps.cache_clear()  # the maps have given their graph away


@pytest.mark.parametrize("branches", [["class"], ["mask", "track"], ["class", "mask", "track"]])
@pytest.mark.parametrize("align", ["ada", "ali"])
def test_calibration_is_where_it_is_asked_for(align: str, branches: list[str]) -> None:
    cfg = compose(
        "train",
        [
            "model/backbone=r18",
            f"model/head/align={align}",
            f"model.head.align.branches=[{','.join(branches)}]",
            *SMALL,
        ],
    )
    model = build_model(plain(cfg.model), num_classes=NUM_CLASSES)
    calibrated = {name.split(".")[1] for name, _ in model.named_parameters() if name.endswith(".adapt")}
    assert calibrated == {f"{branch}_outputs" for branch in branches}


def test_the_head_without_centreness() -> None:
    cfg = compose("train", ["model/backbone=r18", "model.head.centerness=false", *SMALL])
    model = build_model(plain(cfg.model), num_classes=NUM_CLASSES)
    predictions = model(torch.randn(2, 3, 64, 64))
    assert predictions.centerness is None
    report = Criterion()(predictions, targets(64), clip_length=2, temporal=model.temporal)
    assert "centerness" not in report.terms


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: STMask(backbone=None, head=None, num_classes=0),
            "num_classes must be an integer of at least 1, got 0",
        ),
        (lambda: STMask(backbone=None, head=None, num_classes=2, channels=0), "channels must be .*, got 0"),
        (lambda: STMask(backbone=None, head=None, num_classes=2, num_prototypes=-1), "num_prototypes must .*, got -1"),
        (lambda: ResNet(width=0), "width must be an integer of at least 1, got 0"),
        (lambda: ResNet(width=True), "width must be an integer of at least 1, got True"),
        (lambda: ResNet(dcn_interval=-1), "dcn_interval must be an integer of at least 0, got -1"),
        (lambda: FPN(in_channels={}, channels=-4), "channels must be an integer of at least 1, got -4"),
        (lambda: ProtoNet(num_prototypes=0), "num_prototypes must be an integer of at least 1, got 0"),
        (lambda: PredictionHead(num_classes=2, embedding_dim=-1), "embedding_dim must .* at least 0, got -1"),
        (
            lambda: PredictionHead(num_classes=2, kernels=[[3, 0]]),
            r"a kernel is two positive .*, got \[3, 0\]",
        ),
        (lambda: PredictionHead(num_classes=2, scales=[-1.0]), r"scale must be a finite number above 0, got -1\.0"),
        (
            lambda: PredictionHead(num_classes=2, kernels=[[3, 3]], anchor_sizes=[[float("nan"), 3.0]]),
            "anchor_height must be a finite number above 0, got nan",
        ),
        (lambda: TemporalFusion(hidden=[64, 0]), "hidden must be an integer of at least 1, got 0"),
        (lambda: TemporalFusion(size=-3), "size must be an integer of at least 1, got -3"),
        (lambda: TemporalFusion(size=4), "must be odd, got 4"),
    ],
)
def test_sizes_that_no_network_can_have(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("loss", sorted({*options("loss")} - {"filters", "regions", "sipmask"}))  # less other models'
def test_loss_groups(loss: str) -> None:
    cfg = compose("train", ["model/backbone=r18", f"model/loss={loss}", *SMALL, *SMALL_TEMPORAL])
    model = build_model(plain(cfg.model), num_classes=NUM_CLASSES)
    report = model.loss(model(torch.randn(2, 3, 64, 64)), targets(64), clip_length=2, temporal=model.temporal)
    assert report.total.isfinite()
    assert ("centerness" in report.terms) == (loss != "yolact")


def test_frozen_norms_stay_as_they_are() -> None:
    model = build("r18", "fca", "none", "none", frozen_norm=True).train()
    before = model.backbone.bn1.running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(model.backbone.bn1.running_mean, before)
    assert not model.backbone.bn1.weight.requires_grad


def test_same_seed_same_weights() -> None:
    first, second = (build("r18", "fca", "ada", "p4").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
