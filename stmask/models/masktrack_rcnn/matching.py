"""Which anchors and regions show which object, and which of them are learnt from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from stmask.number_checks import require_number
from stmask.ops.boxes import share_inside

BACKGROUND, NEUTRAL = -1, -2


@dataclass(frozen=True, slots=True)
class BoxMatcher:
    """Matches boxes to objects by IoU, as mmdet does.

    Attributes:
        positive_iou: a box with this much of an object or more shows it.
        negative_iou: one with less of every object is background; between the two it is neutral.
        forced_iou: the boxes with the largest IoU with an object show that one, even if they overlap another more,
            unless it is below this.
        crowd_share: background boxes are neutral when more than this part of them lies in a crowd region.
    """

    positive_iou: float
    negative_iou: float
    forced_iou: float
    crowd_share: float = 0.7

    def __post_init__(self) -> None:
        require_number(high=1.0, forced_iou=self.forced_iou, crowd_share=self.crowd_share)
        if not 0 <= self.negative_iou <= self.positive_iou <= 1:
            raise ValueError(
                f"0 <= negative_iou <= positive_iou <= 1 is needed, got {self.negative_iou} and {self.positive_iou}"
            )

    @torch.no_grad()
    def __call__(self, boxes_px: Tensor, objects_px: Tensor, *, crowds_px: Tensor) -> Tensor:
        """(A,) int64 for boxes (A, 4): the object's index, `BACKGROUND` or `NEUTRAL`."""
        shown = torch.full((len(boxes_px),), BACKGROUND, dtype=torch.int64, device=boxes_px.device)
        if len(objects_px) and len(boxes_px):
            overlaps = box_iou(objects_px, boxes_px)  # (N, A)
            best, index = overlaps.max(dim=0)
            shown[best >= self.negative_iou] = NEUTRAL
            positive = best >= self.positive_iou
            shown[positive] = index[positive]
            for number, (row, most) in enumerate(zip(overlaps, overlaps.amax(dim=1).tolist(), strict=True)):
                if most >= self.forced_iou:
                    shown[row == most] = number
        if len(crowds_px):
            inside = share_inside(boxes_px, crowds_px).amax(dim=1) > self.crowd_share
            shown[inside & (shown == BACKGROUND)] = NEUTRAL
        return shown


@dataclass(frozen=True, slots=True)
class Samples:
    """The boxes of a frame that are learnt from.

    Attributes:
        positive: (P,) int64, their indices.
        objects: (P,) int64, the object that each of them shows.
        negative: (M,) int64.
    """

    positive: Tensor
    objects: Tensor
    negative: Tensor

    def __len__(self) -> int:
        return len(self.positive) + len(self.negative)

    @property
    def indices(self) -> Tensor:
        """Of the positive ones, then the negative ones."""
        return torch.cat([self.positive, self.negative])


def sample(shown: Tensor, count: int, *, positive_share: float, generator: torch.Generator) -> Samples:
    """At most `count` boxes at random of those that a matcher gave (A,), at most a share of them positive."""
    positive = _some((shown >= 0).nonzero().flatten(), int(count * positive_share), generator)
    negative = _some((shown == BACKGROUND).nonzero().flatten(), count - len(positive), generator)
    return Samples(positive, shown[positive], negative)


def _some(indices: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(indices) <= most:
        return indices
    return indices[torch.randperm(len(indices), generator=generator)[:most].to(indices.device)]
