"""Masks of instances: dense maps over the network's input, or small squares in boxes, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from stmask.ops import masks as mask_ops
from stmask.structures._checks import require_shape

if TYPE_CHECKING:
    from typing_extensions import Self

_IOU_GRID = 128  # cells a side of the network's input, on which masks in boxes are compared


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in the network's input: at the top left, the rest is padding.

    Attributes:
        image_size: (height, width) to which the image was resized.
        padded_size: (height, width) of the input.
    """

    image_size: tuple[int, int] = (1, 1)
    padded_size: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not all(0 < inner <= outer for inner, outer in zip(self.image_size, self.padded_size, strict=True)):
            raise ValueError(f"an image of {self.image_size} does not fit into an input of {self.padded_size}")

    def boxes_at(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes (N, 4) xyxy in [0, 1] of the input, in pixels of the image at `size` (height, width), within it."""
        (h, w), (padded_h, padded_w) = self.image_size, self.padded_size
        height, width = size
        scale = boxes.new_tensor([width / (w / padded_w), height / (h / padded_h)] * 2)
        return (boxes * scale).clamp(min=0).minimum(scale.new_tensor([width, height] * 2))

    def without_padding(self, maps: Tensor) -> Tensor:
        """The part of maps (N, h, w) over the input that shows the image."""
        rows, columns = (
            max(1, inner * cells // outer)
            for inner, cells, outer in zip(self.image_size, maps.shape[1:], self.padded_size, strict=True)
        )
        return maps[:, :rows, :columns]


WHOLE = Placement()
"""An image that fills the input."""


@dataclass(frozen=True, slots=True)
class CroppedMasks:
    """N binary masks of an image, of each only a part of the image that holds all of it: small for small objects.

    Attributes:
        size: (height, width) of the image.
        corners: row and column of the image where each part begins.
        parts: (rows, columns) bool each; the mask is False elsewhere.
    """

    size: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    parts: tuple[npt.NDArray[np.bool_], ...]

    def __post_init__(self) -> None:
        for (top, left), part in zip(self.corners, self.parts, strict=True):
            bottom, right = top + part.shape[0], left + part.shape[1]
            if not (0 <= top <= bottom <= self.size[0] and 0 <= left <= right <= self.size[1]):
                raise ValueError(f"a part of {part.shape} at {(top, left)} is not within an image of {self.size}")

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Sequence[int]) -> CroppedMasks:
        """The masks of some instances."""
        return CroppedMasks(self.size, tuple(self.corners[i] for i in index), tuple(self.parts[i] for i in index))

    def tight(self) -> CroppedMasks:
        """The same masks, of each the smallest part that holds it: without pixels where a mask is empty."""
        cut = [_tight(part, corner) for part, corner in zip(self.parts, self.corners, strict=True)]
        return CroppedMasks(self.size, tuple(corner for corner, _ in cut), tuple(part for _, part in cut))

    def boxes(self) -> npt.NDArray[np.int64]:
        """The parts' own boxes (N, 4) xyxy in pixels, x2 and y2 beyond the last: of masks that are `tight`, theirs."""
        found = [
            (left, top, left + part.shape[1], top + part.shape[0])
            for (top, left), part in zip(self.corners, self.parts, strict=True)
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 4)

    def whole(self) -> npt.NDArray[np.bool_]:
        """The masks (N, height, width), not cropped."""
        masks = np.zeros((len(self), *self.size), dtype=np.bool_)
        for mask, (x1, y1, x2, y2), part in zip(masks, self.boxes().tolist(), self.parts, strict=True):
            mask[y1:y2, x1:x2] = part
        return masks

    @staticmethod
    def of(masks: Tensor) -> CroppedMasks:
        """Whole masks (N, height, width) bool, not cropped."""
        height, width = masks.shape[1:]
        return CroppedMasks((height, width), ((0, 0),) * len(masks), tuple(masks.cpu().numpy()))


def _tight(part: npt.NDArray[np.bool_], corner: tuple[int, int]) -> tuple[tuple[int, int], npt.NDArray[np.bool_]]:
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not len(rows):
        return corner, part[:0, :0]
    top, left = int(rows[0]), int(columns[0])
    return (corner[0] + top, corner[1] + left), part[top : rows[-1] + 1, left : columns[-1] + 1]


class Masks(Protocol):
    """The masks of N instances."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Self:
        """The masks of some instances, by an index or a boolean mask over N."""
        ...

    def followed_by(self, later: Self) -> Self:
        """These masks, then the later ones."""
        ...

    def at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> Tensor:
        """(N, height, width) bool at `size`, the image's own."""
        ...

    def cropped_at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> CroppedMasks:
        """What `at` gives, to the bit, computed on the CPU and kept for the parts of the image that matter only."""
        ...

    def iou(self, other: Self) -> Tensor:
        """IoU (N, M) of every pair, at a resolution that the masks choose."""
        ...


@dataclass(frozen=True, slots=True)
class DenseMasks:
    """Maps over the whole network input.

    Attributes:
        probabilities: (N, h, w) in [0, 1], at any stride.
    """

    probabilities: Tensor

    def __post_init__(self) -> None:
        require_shape("probabilities", self.probabilities, (None, None, None))

    def __len__(self) -> int:
        return self.probabilities.shape[0]

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.probabilities[index])

    def followed_by(self, later: Self) -> Self:
        """These masks, then the later ones."""
        return type(self)(torch.cat([self.probabilities, later.probabilities]))

    def binary(self) -> Tensor:
        """(N, h, w) bool: more probable than not."""
        return self.probabilities > 0.5

    def at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> Tensor:
        """(N, height, width) bool at `size`: padding cut away, enlarged bilinearly, True above 0.5."""
        return mask_ops.enlarge(placement.without_padding(self.probabilities), *size)

    def cropped_at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> CroppedMasks:
        """What `at` gives on a CPU, in parts."""
        found = mask_ops.enlarged_parts(placement.without_padding(self.probabilities), *size)
        return _cropped(size, found)

    def iou(self, other: DenseMasks) -> Tensor:
        """IoU (N, M) of the binary masks at their own resolution."""
        return mask_ops.iou(self.binary(), other.binary())


@dataclass(frozen=True, slots=True)
class BoxedMasks:
    """A small square for each instance, stretched over its box.

    Attributes:
        probabilities: (N, s, s) in [0, 1].
        boxes: (N, 4) xyxy in [0, 1] of the network's input.
    """

    probabilities: Tensor
    boxes: Tensor

    def __post_init__(self) -> None:
        require_shape("probabilities", self.probabilities, (None, None, None))
        require_shape("boxes", self.boxes, (len(self.probabilities), 4))

    def __len__(self) -> int:
        return self.probabilities.shape[0]

    def __getitem__(self, index: Tensor) -> BoxedMasks:
        return BoxedMasks(self.probabilities[index], self.boxes[index])

    def followed_by(self, later: BoxedMasks) -> BoxedMasks:
        """These masks, then the later ones."""
        return BoxedMasks(torch.cat([self.probabilities, later.probabilities]), torch.cat([self.boxes, later.boxes]))

    def at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> Tensor:
        """(N, height, width) bool at `size`: bilinear between the squares' cells, True above 0.5, False outside."""
        out = torch.zeros(len(self), *size, dtype=torch.bool, device=self.probabilities.device)
        for mask, (top, left, part) in zip(out, self._parts(size, placement), strict=True):
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out

    def cropped_at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> CroppedMasks:
        """What `at` gives on a CPU, in parts."""
        return _cropped(size, BoxedMasks(self.probabilities.cpu(), self.boxes.cpu())._parts(size, placement))

    def _parts(self, size: tuple[int, int], placement: Placement) -> list[tuple[int, int, Tensor]]:
        """Row and column where each box begins, within the image, and its mask there."""
        height, width = size
        boxes_px = placement.boxes_at(self.boxes, size)
        # of the whole box, also where a part of it lies beyond the image
        (h, w), (padded_h, padded_w) = placement.image_size, placement.padded_size
        full = self.boxes * self.boxes.new_tensor([width * padded_w / w, height * padded_h / h] * 2)
        parts = []
        for square, shown, box in zip(self.probabilities, boxes_px.tolist(), full.tolist(), strict=True):
            left, top = int(shown[0]), int(shown[1])
            right, bottom = min(width, int(shown[2]) + 1), min(height, int(shown[3]) + 1)
            if right > left and bottom > top and box[2] > box[0] and box[3] > box[1]:
                x = _cells(left, right, low=box[0], high=box[2]).to(square)
                y = _cells(top, bottom, low=box[1], high=box[3]).to(square)
                grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)  # (rows, columns, xy)
                values = F.grid_sample(square[None, None], grid[None], padding_mode="border", align_corners=False)
                inside = (y.abs() < 1)[:, None] & (x.abs() < 1)
                parts.append((top, left, (values[0, 0] > 0.5) & inside))
            else:
                parts.append((0, 0, square.new_zeros((0, 0), dtype=torch.bool)))
        return parts

    def iou(self, other: BoxedMasks) -> Tensor:
        """IoU (N, M) of the masks on a grid of 128 x 128 cells over the input."""
        return mask_ops.iou(self.at((_IOU_GRID, _IOU_GRID)), other.at((_IOU_GRID, _IOU_GRID)))


def _cells(start: int, stop: int, *, low: float, high: float) -> Tensor:
    """Centres of the pixels start .. stop - 1 in [-1, 1] of low .. high."""
    centres = torch.arange(start, stop, dtype=torch.float64) + 0.5
    return (centres - low) / (high - low) * 2 - 1


def _cropped(size: tuple[int, int], parts: Sequence[tuple[int, int, Tensor]]) -> CroppedMasks:
    corners = tuple((top, left) for top, left, _ in parts)
    return CroppedMasks(size, corners, tuple(part.numpy() for _, _, part in parts))
