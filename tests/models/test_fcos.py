"""Points, what they show, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS

from stmask.models.layers.fcos import (
    BACKGROUND,
    NEUTRAL,
    STRIDES,
    PointLoss,
    PointMatcher,
    PointPredictions,
    Points,
    PointTargets,
    by_point,
    centreness,
    paired_iou,
)
from stmask.structures import FrameTargets

SIZE = (256, 384)
MAPS = [torch.zeros(1, 1, -(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in STRIDES]
POINTS = Points.of(MAPS)


def shown(
    boxes_px: Sequence[Sequence[float]],
    *,
    crowds_px: Sequence[Sequence[float]] = (),
    mask: Tensor | None = None,
    matcher: PointMatcher = PointMatcher(),
) -> PointTargets:
    size = torch.tensor(SIZE[::-1] * 2)
    n = len(boxes_px)
    target = FrameTargets(
        boxes=torch.tensor(boxes_px).reshape(-1, 4) / size,
        labels=torch.arange(1, n + 1),
        masks=torch.zeros(n, *SIZE, dtype=torch.bool) if mask is None else mask,
        track_ids=torch.arange(1, n + 1),
        crowds=torch.tensor(crowds_px).reshape(-1, 4) / size,
    )
    return matcher(POINTS, [target], input_size=SIZE)


def places(objects: Tensor, wanted: int) -> list[tuple[int, int, int]]:
    """x, y and stride of the points of the first frame that show an object."""
    rows = (objects[0] == wanted).nonzero().flatten()
    return [(int(x), int(y), int(s)) for (x, y), s in zip(POINTS.xy_px[rows], POINTS.strides[rows], strict=True)]


def test_points_are_the_middles_of_cells_level_by_level() -> None:
    points = Points.of([torch.zeros(2, 3, 2, 3), *(torch.zeros(2, 3, 1, 1) for _ in range(4))])
    assert points.xy_px.tolist() == [
        [4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [16, 16], [32, 32], [64, 64],
    ]  # fmt: skip
    assert points.levels.tolist() == [0] * 6 + [1, 2, 3, 4]
    assert points.strides.tolist() == [8] * 6 + [16, 32, 64, 128]
    maps = [torch.arange(12.0).view(1, 2, 2, 3), *(torch.tensor([[-1.0, -2.0]]).view(1, 2, 1, 1) for _ in range(4))]
    assert by_point(maps)[0].tolist() == [[i, i + 6] for i in range(6)] + [[-1, -2]] * 4


def test_boxes_and_distances_are_each_others_inverse() -> None:
    box = torch.tensor([10.0, 20.0, 50.0, 40.0]).expand(len(POINTS.xy_px), 4)
    ways = POINTS.distances_px(box)
    assert ways[0].tolist() == [-6, -16, 46, 36]
    torch.testing.assert_close(POINTS.boxes_px(ways), box)


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        # 1.5 strides about the centre, on the level of its size
        ([80, 80, 120, 120], [(x, y, 8) for y in (92, 100, 108) for x in (92, 100, 108)]),
        ([98, 80, 102, 120], [(100, y, 8) for y in (92, 100, 108)]),  # and within the box
        ([0, 0, 160, 100], [(x, y, 16) for y in (40, 56, 72) for x in (72, 88)]),  # furthest side: 64 to 128
        ([0, 0, 384, 256], [(176, 112, 32), (208, 112, 32), (176, 144, 32), (208, 144, 32)]),
        ([101, 101, 103, 103], []),  # between the points
    ],
)
def test_which_points_show_an_object(box: list[float], wanted: list[tuple[int, int, int]]) -> None:
    assert places(shown([box]).objects, 0) == wanted


def test_a_point_shows_the_smallest_of_several_objects() -> None:
    targets = shown([[80, 80, 120, 120], [84, 84, 116, 116], [88, 60, 112, 140]])
    assert places(targets.objects, 1) == [(x, y, 8) for y in (92, 100, 108) for x in (92, 100, 108)]
    assert targets.objects.unique().tolist() == [BACKGROUND, 1]
    assert targets.labels[targets.positive].unique().tolist() == [2]
    assert targets.boxes_px[targets.positive].unique(dim=0).tolist() == [[84, 84, 116, 116]]
    assert targets.boxes_px[~targets.positive].abs().sum() == 0


def test_boxes_that_end_at_their_last_pixel() -> None:
    targets = shown([[80, 80, 120, 120]], matcher=PointMatcher(extent=1.0))
    assert targets.boxes_px[targets.positive].unique(dim=0).tolist() == [[80, 80, 119, 119]]
    # the centre is half a pixel nearer, so that the furthest points are near enough on neither side
    assert places(shown([[80, 80, 112, 120]]).objects, 0)[0] == (92, 92, 8)
    assert places(shown([[80, 80, 112, 120]], matcher=PointMatcher(extent=1.0)).objects, 0)[0] == (84, 92, 8)


def test_background_points_in_crowds_are_neutral() -> None:
    targets = shown([[80, 80, 120, 120]], crowds_px=[[84, 84, 100, 200]])
    assert len(places(targets.objects, 0)) == 9
    neutral = places(targets.objects, NEUTRAL)
    assert (92, 116, 8) in neutral
    assert (92, 92, 8) not in neutral
    assert (108, 116, 8) not in neutral


def test_about_the_centre_of_mass() -> None:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 80:120, 80:85] = True
    mask[0, 80:85, 80:120] = True  # an angle, whose mass lies at the upper left
    found = places(shown([[80, 80, 120, 120]], mask=mask, matcher=PointMatcher(centre="mask")).objects, 0)
    assert found == [(x, y, 8) for y in (84, 92, 100) for x in (84, 92, 100)]


@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_same_points_as_torchvision(n: int) -> None:
    """Its matching stands within its loss."""
    torch.manual_seed(n)
    corner = torch.rand(n, 2) * 200
    boxes = torch.cat([corner, corner + 4 + torch.rand(n, 2) * torch.tensor([180, 50])], dim=1)
    backbone = nn.Identity()
    backbone.out_channels = 32  # type: ignore[assignment]
    theirs, found = FCOS(backbone, num_classes=2), []

    class Head(nn.Module):
        def compute_loss(self, targets: object, outputs: object, anchors: object, matched: list[Tensor]) -> None:
            found.extend(matched)

    theirs.head = Head()
    cells = torch.cat([POINTS.xy_px, POINTS.xy_px], dim=1) + POINTS.strides[:, None] * torch.tensor(
        [-0.5, -0.5, 0.5, 0.5]
    )
    counts = POINTS.levels.bincount().tolist()
    theirs.compute_loss([{"boxes": boxes, "labels": torch.ones(n)}], {}, [cells], counts)
    ours = shown(boxes.tolist()).objects[0]
    assert (ours >= 0).any() == (n > 0)
    assert torch.equal(ours, found[0])


def test_centreness() -> None:
    ways = torch.tensor([[10.0, 10, 10, 10], [5, 10, 20, 10], [5, 5, 20, 20], [-1, 5, 20, 5], [0, 0, 0, 0]])
    assert centreness(ways).tolist() == pytest.approx([1, 0.5, 0.25, 0, 0])


def test_paired_iou_of_boxes_with_crossed_sides_and_more_extent() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [10, 10, 0, 0], [10, 0, 0, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    assert paired_iou(a, b).tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert paired_iou(a, b, extent=1.0)[1].item() == pytest.approx(66 / (121 + 121 - 66))


def predictions(boxes_px: Tensor | None = None) -> PointPredictions:
    a = len(POINTS.xy_px)
    ways = torch.full((1, a, 4), 8.0) if boxes_px is None else POINTS.distances_px(boxes_px)
    return PointPredictions(
        torch.zeros(1, a, 3, requires_grad=True),
        ways.requires_grad_(),
        torch.zeros(1, a, requires_grad=True),
    )


def test_what_points_cost() -> None:
    targets = shown([[80, 80, 120, 120]], crowds_px=[[0, 0, 60, 60]])
    given = predictions(targets.boxes_px.clone())
    terms = PointLoss()(given, targets, POINTS)
    others = int((targets.objects == BACKGROUND).sum())
    # at probability 1/2: alpha / 4 log 2 for the class, (1 - alpha) / 4 log 2 for each that it is not
    negative = 0.75 / 4 * math.log(2)
    wanted = (9 * (0.25 / 4 * math.log(2) + 2 * negative) + others * 3 * negative) / (9 + 1)
    assert terms["class"].item() == pytest.approx(wanted, rel=1e-5)
    assert terms["box"].item() == pytest.approx(0, abs=1e-6)
    assert terms["centreness"].item() == pytest.approx(math.log(2))

    shifted = targets.boxes_px + torch.tensor([20.0, 0, 20, 0])
    terms = PointLoss()(predictions(shifted), targets, POINTS)
    assert terms["box"].item() == pytest.approx(math.log(3), rel=1e-5)
    terms = PointLoss(box="giou")(predictions(shifted), targets, POINTS)
    assert terms["box"].item() == pytest.approx(2 / 3, rel=1e-5)
    assert PointLoss(frame_count=0.0)(given, targets, POINTS)["class"].item() == pytest.approx(
        wanted * 10 / 9, rel=1e-5
    )


def test_nothing_to_find_costs_the_background_alone() -> None:
    given = predictions()
    terms = PointLoss(box="giou")(given, shown([]), POINTS)
    torch.stack(list(terms.values())).sum().backward()
    assert terms["box"] == terms["centreness"] == 0
    assert terms["class"] > 0
    for value in (given.class_logits, given.distances_px, given.centreness_logits):
        assert value.grad is not None
        assert value.grad.isfinite().all()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: PointMatcher(centre="corner"), "centre must be one of box, mask, got 'corner'"),  # type: ignore[arg-type]
        (lambda: PointMatcher(limits=(64.0, 32.0, 128.0, 256.0)), "limits must be 4 rising positive numbers"),
        (lambda: PointMatcher(radius=0), "radius must be a finite number above 0"),
        (lambda: PointLoss(box="l1"), "box must be one of iou, giou, got 'l1'"),  # type: ignore[arg-type]
        (lambda: PointLoss(alpha=2), "alpha must be"),
    ],
)
def test_numbers_out_of_range(part: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part()
