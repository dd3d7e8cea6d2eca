"""Branches at chosen anchors against the same convolutions everywhere, values and gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stmask.models.layers import Pyramid
from stmask.models.stmask import (
    AdaptiveCalibration,
    AlignedCalibration,
    Calibration,
    LayerOnly,
    NoCalibration,
    PredictionHead,
)
from stmask.models.stmask.branches import LazyBranches
from stmask.models.stmask.calibration import CalibratedConv
from stmask.ops import sheet

SIZES = ((10, 15), (5, 8), (3, 4), (2, 2), (1, 1))
ANCHORS = 3 * sum(h * w for h, w in SIZES)


def lazy(align: Calibration | None = None, **options: object) -> tuple[PredictionHead, LazyBranches]:
    torch.manual_seed(0)
    head = PredictionHead(num_classes=2, channels=8, num_prototypes=4, align=align, **options)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    pyramid = Pyramid({f"P{3 + level}": torch.randn(2, 8, h, w) for level, (h, w) in enumerate(SIZES)})
    return head, head(pyramid).branches


def chosen(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(2, (count,), generator=generator)
    return frames, torch.randint(ANCHORS, (count,), generator=generator)


def gradients(head: PredictionHead, values: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    head.zero_grad()
    weights = torch.randn(values[0].shape[0], values[0].shape[1], generator=torch.Generator().manual_seed(2))
    ((values[0] * weights).sum() + (values[1] ** 3).sum()).backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "make",
    [
        lazy,
        partial(lazy, embedding_dim=0),
        partial(lazy, kernels=((3, 3), (2, 4), (1, 5))),
        partial(lazy, AdaptiveCalibration(branches=["mask"])),
        partial(lazy, AlignedCalibration(branches=["track"])),
        partial(lazy, AdaptiveCalibration()),
        partial(lazy, LayerOnly()),
        partial(lazy, NoCalibration()),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_values_and_gradients_are_those_of_all_anchors(
    make: partial[tuple[PredictionHead, LazyBranches]], count: int
) -> None:
    head, branches = make()
    frames, anchors = chosen(count)
    everywhere = branches.everywhere()
    wanted = everywhere[0][frames, anchors], everywhere[1][frames, anchors]
    got = branches.at(frames, anchors)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    wanted_gradients, got_gradients = gradients(head, wanted), gradients(head, got)
    assert wanted_gradients.keys() == got_gradients.keys()  # also without any anchor: DDP waits for each
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_a_layer_without_offsets_is_a_convolution() -> None:
    head, branches = lazy(LayerOnly(branches=["mask"]))
    got = branches.everywhere()[0]
    x = head.mask_tower(branches.maps[0])
    conv = head.mask_outputs[1]
    assert isinstance(conv, CalibratedConv)
    wanted = conv.output(F.conv2d(x, conv.adapt, padding=(1, 2)).relu())
    shapes, cells = len(head.mask_outputs), SIZES[0][0] * SIZES[0][1]
    torch.testing.assert_close(got[:, 1 : shapes * cells : shapes], wanted.flatten(2).mT)


def test_every_anchor_at_the_borders() -> None:
    """Padding at each layer is zero, not what a larger map would give there."""
    _, branches = lazy()
    wanted = branches.everywhere()
    for anchor in range(ANCHORS):
        got = branches.at(torch.tensor([1]), torch.tensor([anchor]))
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one[0], other[1, anchor], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("align", [None, AdaptiveCalibration(), AlignedCalibration()])
def test_few_anchors_compute_few_cells(align: Calibration | None, monkeypatch: pytest.MonkeyPatch) -> None:
    head, branches = lazy(align)
    monkeypatch.setattr(head.mask_tower, "forward", None)  # a call would fail
    branches.at(torch.zeros(1, dtype=torch.int64), torch.tensor([200]))
    with pytest.raises(TypeError):
        branches.everywhere()


def test_the_precision_is_that_of_the_network() -> None:
    head, _ = lazy()
    pyramid = Pyramid({f"P{3 + level}": torch.randn(2, 8, h, w) for level, (h, w) in enumerate(SIZES)})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        branches = head(pyramid).branches
    with torch.autocast("cpu", enabled=False):
        assert branches.at(*chosen(3))[0].dtype == torch.bfloat16
        assert branches.everywhere()[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "align", [None, AdaptiveCalibration(), AlignedCalibration(), AdaptiveCalibration(branches=["class"])]
)
@pytest.mark.parametrize("kernels", [((3, 3), (3, 5), (5, 3)), ((3, 3), (2, 4), (1, 5))])
def test_levels_on_a_sheet_are_those_by_themselves(
    monkeypatch: pytest.MonkeyPatch, align: Calibration | None, kernels: tuple[tuple[int, int], ...]
) -> None:
    torch.manual_seed(0)
    head = PredictionHead(num_classes=2, channels=8, num_prototypes=4, align=align, kernels=kernels).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    levels = {f"P{3 + n}": torch.randn(2, 8, *size, dtype=torch.float64) for n, size in enumerate(SIZES)}
    inputs = [level.requires_grad_() for level in levels.values()]
    both = []
    for few in (2**16, 0):
        monkeypatch.setattr(sheet, "_FEW_VALUES", few)
        out = head(Pyramid(levels))
        assert out.centerness is not None
        towers = [out.towers[name] for name in levels]
        values = [out.box_deltas, out.class_logits, out.centerness, *towers, *out.branches.everywhere()]
        total = sum((value**3).sum() for value in values)
        both.append((values, torch.autograd.grad(total, [*inputs, *head.parameters()], allow_unused=True)))
    (mine, gradients), (theirs, wanted) = both
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b)
