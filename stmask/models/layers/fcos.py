"""What networks that predict at points share: FCOS (Tian et al., ICCV 2019) without its head's outputs.

A point is a cell of a level of the pyramid. Points have one order everywhere: level, then row, column. Boxes and
distances are in pixels of the padded input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from stmask.models.layers.conv import Conv2d, grouped_norm
from stmask.number_checks import require_integer, require_number
from stmask.structures import FrameTargets

STRIDES = (8, 16, 32, 64, 128)
"""Pixels of a cell of P3 .. P7."""
BACKGROUND, NEUTRAL = -1, -2
_LEAST_IOU = 1e-6
_EPSILON = 1e-9
_CENTRES = ("box", "mask")
_BOX_LOSSES = ("iou", "giou")


@dataclass(frozen=True, slots=True)
class Points:
    """The A points of an input.

    Attributes:
        xy_px: (A, 2) float.
        strides: (A,) float, pixels between a point and the next of its level.
        levels: (A,) int64, 0 for P3.
    """

    xy_px: Tensor
    strides: Tensor
    levels: Tensor

    @staticmethod
    def of(maps: Sequence[Tensor]) -> Points:
        """The points of maps (B, C, h, w), one for each of P3 .. P7: cell k lies at k * stride + stride // 2."""
        device, points, counts = maps[0].device, [], []
        for level, stride in zip(maps, STRIDES, strict=True):
            h, w = level.shape[-2:]
            y, x = (torch.arange(n, device=device) * stride + stride // 2 for n in (h, w))
            points.append(torch.stack([x.repeat(h), y.repeat_interleave(w)], dim=1))
            counts.append(h * w)
        count = torch.tensor(counts, device=device)
        levels = torch.arange(len(counts), device=device).repeat_interleave(count)
        strides = torch.tensor(STRIDES, device=device, dtype=torch.float32)
        return Points(torch.cat(points).float(), strides[levels], levels)

    def boxes_px(self, distances_px: Tensor) -> Tensor:
        """Boxes (..., A, 4) xyxy whose sides are so far to the left, top, right and bottom (..., A, 4) of the points.

        Distances may be negative: nothing is put in order.
        """
        return torch.cat([self.xy_px - distances_px[..., :2], self.xy_px + distances_px[..., 2:]], dim=-1)

    def distances_px(self, boxes_px: Tensor) -> Tensor:
        """The way (..., A, 4) from each point to the left, top, right and bottom side of a box (..., A, 4)."""
        return torch.cat([self.xy_px - boxes_px[..., :2], boxes_px[..., 2:] - self.xy_px], dim=-1)


def by_point(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) of all levels as (B, A, C), in the order of the points."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


@dataclass(frozen=True, slots=True)
class PointPredictions:
    """What is predicted at the A points of B frames, in float32.

    Attributes:
        class_logits: (B, A, K), of sigmoids.
        distances_px: (B, A, 4), left, top, right, bottom.
        centreness_logits: (B, A).
    """

    class_logits: Tensor
    distances_px: Tensor
    centreness_logits: Tensor


@dataclass(frozen=True, slots=True)
class PointTargets:
    """What the A points of B frames show.

    Attributes:
        objects: (B, A) int64, index of the object in its frame, `BACKGROUND` or `NEUTRAL`.
        labels: (B, A) int64, its class 1..K; 0 where there is none.
        boxes_px: (B, A, 4), its box; zeros where there is none.
    """

    objects: Tensor
    labels: Tensor
    boxes_px: Tensor

    @property
    def positive(self) -> Tensor:
        """(B, A) bool: the points that show an object."""
        return self.objects >= 0


@dataclass(frozen=True, slots=True)
class PointMatcher:
    """Matches points to objects: those near an object's centre, on the level of its size.

    Of several objects the point shows the one with the smallest box.

    Attributes:
        radius: how far from the centre, in strides of the level, and within the box.
        centre: of the box, or the centre of mass of the mask.
        limits: on each level but the last, the most pixels from a point to the side of the box that is furthest; the
            next level begins there.
        extent: 1 for a network whose boxes reach from their first pixel to their last one, not to its far side.
    """

    radius: float = 1.5
    centre: Literal["box", "mask"] = "box"
    limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    extent: float = 0.0

    def __post_init__(self) -> None:
        require_number(open_low=True, radius=self.radius)
        require_number(extent=self.extent)
        if self.centre not in _CENTRES:
            raise ValueError(f"centre must be one of {', '.join(_CENTRES)}, got {self.centre!r}")
        if len(self.limits) != len(STRIDES) - 1 or list(self.limits) != sorted(self.limits) or self.limits[0] <= 0:
            raise ValueError(f"limits must be {len(STRIDES) - 1} rising positive numbers, got {list(self.limits)}")

    @torch.no_grad()
    def __call__(self, points: Points, targets: Sequence[FrameTargets], *, input_size: tuple[int, int]) -> PointTargets:
        """What the points show of the objects of each of B frames, in inputs of (H, W) pixels."""
        size = points.xy_px.new_tensor(input_size[::-1] * 2)
        far = size.new_tensor([0, 0, self.extent, self.extent])
        found, labels, boxes = [], [], []
        for target in targets:
            boxes_px = target.boxes.float() * size - far
            objects = self._matched(points, target, boxes_px, crowds_px=target.crowds.float() * size)
            # one more row, the last: of what is not an object
            found.append(objects)
            labels.append(F.pad(target.labels, (0, 1))[objects.clamp(min=-1)])
            boxes.append(F.pad(boxes_px, (0, 0, 0, 1))[objects.clamp(min=-1)])
        return PointTargets(torch.stack(found), torch.stack(labels), torch.stack(boxes))

    def _matched(self, points: Points, target: FrameTargets, boxes: Tensor, *, crowds_px: Tensor) -> Tensor:
        """(A,) int64, as `PointTargets.objects`, for boxes (N, 4) in pixels."""
        xy = points.xy_px
        shown = torch.full((len(xy),), BACKGROUND, dtype=torch.int64, device=xy.device)
        if len(target):
            ways = torch.cat([xy[:, None] - boxes[:, :2], boxes[:, 2:] - xy[:, None]], dim=2)  # (A, N, 4)
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2 if self.centre == "box" else _centres_of_mass(target.masks)
            reach = self.radius * points.strides[:, None, None]
            low, high = torch.maximum(centres - reach, boxes[:, :2]), torch.minimum(centres + reach, boxes[:, 2:])
            near = torch.cat([xy[:, None] - low, high - xy[:, None]], dim=2).amin(dim=2) > 0
            limits = torch.tensor((0.0, *self.limits, torch.inf), device=xy.device)
            furthest = ways.amax(dim=2)
            fits = (furthest >= limits[points.levels, None]) & (furthest <= limits[points.levels + 1, None])
            areas = (boxes[:, 2:] - boxes[:, :2] + self.extent).prod(dim=1)
            least, index = torch.where(near & fits, areas, torch.inf).min(dim=1)
            shown = torch.where(least.isfinite(), index, shown)
        if len(crowds_px):
            inside = ((xy[:, None] >= crowds_px[:, :2]) & (xy[:, None] <= crowds_px[:, 2:])).all(dim=2).any(dim=1)
            shown[inside & (shown == BACKGROUND)] = NEUTRAL
        return shown


def _centres_of_mass(masks: Tensor) -> Tensor:
    """(N, 2) x and y in pixels of masks (N, H, W) bool."""
    h, w = masks.shape[1:]
    columns, rows = masks.sum(dim=1).float(), masks.sum(dim=2).float()  # (N, W), (N, H)
    count = rows.sum(dim=1).clamp(min=1)
    x, y = (torch.arange(n, device=masks.device, dtype=torch.float32) for n in (w, h))
    return torch.stack([columns @ x / count, rows @ y / count], dim=1)


def centreness(distances_px: Tensor) -> Tensor:
    """How near to the middle of a box a point within it lies: (..., 4) to (...) in [0, 1]; 0 outside."""
    near = torch.minimum(distances_px[..., :2], distances_px[..., 2:]).clamp(min=0)
    far = torch.maximum(distances_px[..., :2], distances_px[..., 2:])
    return (near / far.clamp(min=_EPSILON)).prod(dim=-1).sqrt()


def paired_iou(a_px: Tensor, b_px: Tensor, *, extent: float = 0.0) -> Tensor:
    """IoU (...) of boxes (..., 4) in pair, all of which are longer by `extent`; 0 for a box whose sides are crossed."""
    low, high = torch.maximum(a_px[..., :2], b_px[..., :2]), torch.minimum(a_px[..., 2:], b_px[..., 2:])
    overlap = (high - low + extent).clamp(min=0).prod(dim=-1)
    a, b = ((box[..., 2:] - box[..., :2] + extent).prod(dim=-1) for box in (a_px, b_px))
    return overlap / (a + b - overlap).clamp(min=_EPSILON)


@dataclass(frozen=True, slots=True)
class PointLoss:
    """Focal loss over classes, box loss and centre-ness of the points that show objects; all of weight 1.

    Attributes:
        box: minus the logarithm of the IoU ("iou"), or 1 - GIoU ("giou"); weighted by the point's centre-ness.
        extent: as of `PointMatcher`, for "iou".
        alpha, gamma: of the focal loss.
        frame_count: the focal loss is divided by the number of points that show objects, plus this for each frame.
    """

    box: Literal["iou", "giou"] = "iou"
    extent: float = 0.0
    alpha: float = 0.25
    gamma: float = 2.0
    frame_count: float = 1.0

    def __post_init__(self) -> None:
        if self.box not in _BOX_LOSSES:
            raise ValueError(f"box must be one of {', '.join(_BOX_LOSSES)}, got {self.box!r}")
        require_number(extent=self.extent, gamma=self.gamma, frame_count=self.frame_count)
        require_number(high=1.0, alpha=self.alpha)

    def __call__(self, predictions: PointPredictions, targets: PointTargets, points: Points) -> dict[str, Tensor]:
        """The terms "class", "box" and "centreness" of B frames. Without a point that shows an object the last two
        are 0, with gradients of 0.
        """
        logits, positive = predictions.class_logits, targets.positive
        wanted = F.one_hot(targets.labels, logits.shape[-1] + 1)[..., 1:].to(logits)
        focal = sigmoid_focal_loss(logits, wanted, alpha=self.alpha, gamma=self.gamma).sum(dim=-1)  # (B, A)
        count = positive.sum()
        divisor = (count + self.frame_count * len(logits)).clamp(min=1)
        boxes, goals = points.boxes_px(predictions.distances_px)[positive], targets.boxes_px[positive]
        middle = centreness(points.distances_px(targets.boxes_px)[positive])
        costs = F.binary_cross_entropy_with_logits(predictions.centreness_logits[positive], middle, reduction="sum")
        return {
            "class": torch.where(targets.objects == NEUTRAL, 0, focal).sum() / divisor,
            "box": (self._box_costs(boxes, goals) * middle).sum() / middle.sum().clamp(min=_LEAST_IOU),
            "centreness": costs / count.clamp(min=1),
        }

    def _box_costs(self, boxes_px: Tensor, goals_px: Tensor) -> Tensor:
        if self.box == "giou":
            costs: Tensor = generalized_box_iou_loss(boxes_px, goals_px)
            return costs
        return -paired_iou(boxes_px, goals_px, extent=self.extent).clamp(min=_LEAST_IOU).log()


class NormedTower(nn.Sequential):
    """3x3 convolutions, each followed by a group norm and a ReLU.

    Args:
        channels: of the maps that come in and go out.
        depth: how many.
        bias: whether the convolutions have biases.
    """

    def __init__(self, *, channels: int, depth: int, bias: bool = False) -> None:
        require_integer(channels=channels, depth=depth)
        super().__init__(*(NormedConv(channels, bias=bias) for _ in range(depth)))


class NormedConv(nn.Module):
    """A layer of a `NormedTower`."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm = grouped_norm(channels, groups=32, least=8)
        # how large weights before a norm are says only how fast they turn: FCOS has 0.01, with which Adam spins them
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, h, w) to (B, C, h, w)."""
        y: Tensor = self.norm(self.conv(x), relu=True)
        return y


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Values of any shape, times the factor."""
        return x * self.scale
