"""What lies in crowd regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

if TYPE_CHECKING:  # importing the records would import torch
    from stmask.structures import RLE

_INSIDE = 0.5


def inside_regions(masks: Sequence[RLE | None], regions: Sequence[RLE | None]) -> npt.NDArray[np.bool_]:
    """(N,) whether more than half of each mask lies in the union of the regions; all have pixels and one size."""
    if not masks:
        return np.zeros(0, dtype=bool)
    union = coco_mask.merge(list(regions))
    shares: npt.NDArray[np.float64] = coco_mask.iou(list(masks), [union], [True])[:, 0]
    return shares > _INSIDE + float(np.finfo(float).eps)
