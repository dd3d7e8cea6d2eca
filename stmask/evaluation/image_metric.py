"""COCO's AP of masks and boxes as a torchmetrics metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stmask.errors import DataError
from stmask.evaluation.gathering import CollectedResults
from stmask.evaluation.image_ap import ImageAPReport, evaluate_images, to_detections
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.structures import ImageResult


class ImageMeanAveragePrecision(CollectedResults):
    """AP of masks and boxes over the images that were seen, updated with one `ImageResult` at a time.

    Args:
        ground_truth: must have annotations.
        category_ids: its ids of the labels 1..K, None for a class that it does not have; default: its own order.
    """

    item = "image"

    def __init__(
        self,
        ground_truth: ImageGroundTruth,
        *,
        category_ids: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ground_truth = ground_truth
        self.category_ids = ground_truth.category_ids if category_ids is None else tuple(category_ids)
        self._report: ImageAPReport | None = None

    def update(self, result: ImageResult) -> None:
        """Adds the instances of one image.

        Raises:
            DataError: the image is not in the ground truth, or a label is out of range.
        """
        if result.image_id not in self.ground_truth.coco.imgs:
            raise DataError(f"image {result.image_id} is not in {self.ground_truth.source}")
        self._add(result.image_id, to_detections([result], self.category_ids))

    def compute(self) -> dict[str, Tensor]:
        """The figures of `IMAGE_FIGURES` as float64 scalars, -1 where undefined.

        Raises:
            DataError: an image came twice with different results.
        """
        seen = self._entries()
        image_ids = sorted(seen)
        entries = [entry for image_id in image_ids for entry in seen[image_id]]
        self._report = evaluate_images(self.ground_truth, entries, image_ids=image_ids)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self._report.stats.items()}

    def report(self) -> ImageAPReport:
        """The full report behind `compute`, which it calls; under DDP every process must."""
        self.compute()
        assert self._report is not None
        return self._report

    def reset(self) -> None:
        """Forgets all images."""
        super().reset()
        self._report = None
