"""Anchors of the region proposal network, and the proposals that it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from stmask.models.masktrack_rcnn.boxes import PLAIN_SCALES, Size, decode
from stmask.models.masktrack_rcnn.records import RegionMaps
from stmask.number_checks import require_integer, require_number

STRIDES = (4, 8, 16, 32, 64)
"""Pixels of a cell of P2 .. P6."""
RATIOS = (0.5, 1.0, 2.0)
"""Height to width of the anchors of a cell."""


@dataclass(frozen=True, slots=True)
class Proposer:
    """Chooses the anchors that may show an object.

    torchvision's `AnchorGenerator` differs: it rounds the anchors' corners, and takes the cell of a level to be the
    input's size over the level's, which is not the stride where the input is not a multiple of 64.

    Attributes:
        per_level: the best of each level are considered.
        iou_threshold: of these, those that overlap a better one of their level by more are dropped.
        total: at most this many of the rest become proposals.
        anchor_scale: side of the anchors, in cells.
        round_anchors: corners of the anchors are whole pixels, as torchvision's weights were trained.
    """

    per_level: int = 200
    iou_threshold: float = 0.7
    total: int = 200
    anchor_scale: float = 8.0
    round_anchors: bool = False

    def __post_init__(self) -> None:
        require_integer(per_level=self.per_level, total=self.total)
        require_number(high=1.0, iou_threshold=self.iou_threshold)
        require_number(open_low=True, anchor_scale=self.anchor_scale)

    def anchors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Of each level (B, C, h, w) the anchors (h * w * 3, 4) xyxy in pixels, in the order row, column, ratio.

        They are centred on the upper left corners of the cells.
        """
        return [
            self._level(level.shape[-2], level.shape[-1], stride, level.device)
            for level, stride in zip(maps, STRIDES, strict=True)
        ]

    def _level(self, height: int, width: int, stride: int, device: torch.device) -> Tensor:
        roots = torch.tensor(RATIOS, device=device).sqrt()
        half_w, half_h = (0.5 * stride * self.anchor_scale * root for root in (1 / roots, roots))
        cell = torch.stack([-half_w, -half_h, half_w, half_h], dim=1)  # (3, 4)
        cell = cell.round() if self.round_anchors else cell
        y, x = torch.meshgrid(
            torch.arange(height, device=device) * stride, torch.arange(width, device=device) * stride, indexing="ij"
        )
        corners = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        return (corners + cell).reshape(-1, 4)

    @torch.no_grad()
    def __call__(self, maps: RegionMaps, image_sizes: Sequence[Size]) -> list[Tensor]:
        """The proposals (P, 4) xyxy in pixels of each of B frames, best first; they carry no gradient."""
        return [boxes for boxes, _ in self.with_scores(maps, image_sizes)]

    @torch.no_grad()
    def with_scores(self, maps: RegionMaps, image_sizes: Sequence[Size]) -> list[tuple[Tensor, Tensor]]:
        """As a call, with the objectness (P,) in [0, 1] of each."""
        anchors = self.anchors(maps.levels)
        levels = list(zip(*by_anchor(maps), anchors, strict=True))
        return [self._of_frame(b, levels, size) for b, size in enumerate(image_sizes)]

    def _of_frame(
        self, b: int, levels: Sequence[tuple[Tensor, Tensor, Tensor]], image_size: Size
    ) -> tuple[Tensor, Tensor]:
        found, places = [], []
        for number, (logits, deltas, anchors) in enumerate(levels):
            scores = logits[b].float().sigmoid()
            best, order = scores.topk(min(self.per_level, len(scores)))
            boxes = decode(deltas[b, order].float(), anchors[order], scales=PLAIN_SCALES, image_size=image_size)
            found.append(torch.cat([boxes, best[:, None]], dim=1))
            places.append(torch.full_like(order, number))
        candidates, place = torch.cat(found), torch.cat(places)
        has_area = (candidates[:, 2:4] > candidates[:, :2]).all(dim=1)
        candidates, place = candidates[has_area], place[has_area]
        boxes, scores = candidates[:, :4], candidates[:, 4]
        kept = batched_nms(boxes, scores, place, self.iou_threshold)[: self.total]
        return boxes[kept], scores[kept]


def by_anchor(maps: RegionMaps) -> tuple[list[Tensor], list[Tensor]]:
    """Of each level the objectness (B, A) and the deltas (B, A, 4), in the order of the anchors."""
    logits = [level.permute(0, 2, 3, 1).flatten(1) for level in maps.objectness]
    deltas = [level.permute(0, 2, 3, 1).reshape(len(level), -1, 4) for level in maps.box_deltas]
    return logits, deltas
