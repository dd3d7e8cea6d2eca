"""Draws tracked instances on a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stmask import viz
from stmask.structures import CroppedMasks, TrackedFrame

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStyle:
    """How instances are drawn.

    Attributes:
        boxes: draw them.
        labels: write track id, class and score.
        opacity: of the masks, 0 to 1.
        zoom: enlarges the frames by a whole number first; small ones need it to be read.
    """

    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    zoom: int = 1

    def __post_init__(self) -> None:
        if self.zoom < 1 or not 0 <= self.opacity <= 1:
            raise ValueError(f"zoom must be at least 1 and opacity within 0 to 1, got {self.zoom} and {self.opacity}")


def draw_tracked(
    frame: Image,
    tracked: TrackedFrame,
    *,
    class_names: Sequence[str] = (),
    masks: CroppedMasks | None = None,
    style: DrawStyle | None = None,
) -> Image:
    """A frame (h, w, 3) with its instances drawn on it, the best score on top, enlarged as `style` says.

    Each box is that of the mask. `masks`, which `TrackedFrame.shown_at` gave together with `tracked`, saves computing
    them again where there is no zoom.
    """
    style = style or DrawStyle()
    height, width = frame.shape[0] * style.zoom, frame.shape[1] * style.zoom
    order = tracked.instances.scores.argsort(descending=True)
    part = tracked[order]
    if masks is None or style.zoom > 1:
        part, shapes = part.shown_at((height, width))
    else:
        shapes = masks[order.tolist()]
    if style.zoom > 1:
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    return viz.draw(
        frame,
        shapes.parts,
        track_ids=part.track_ids.tolist(),
        corners=shapes.corners,
        boxes=shapes.boxes().tolist() if style.boxes else None,
        labels=part.instances.labels.tolist(),
        scores=part.instances.scores.tolist(),
        class_names=class_names,
        supplemented=part.supplemented.tolist(),
        captions=style.labels,
        opacity=style.opacity,
    )
