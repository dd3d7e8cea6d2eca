"""Annotated frames as a network sees them, drawn in pixels of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stmask.data import VideoDataset
from stmask.ops.boxes import from_masks
from stmask.ops.frames import FramePreprocessor
from stmask.plots.style import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class AnnotatedFrame:
    """A frame, as a network's input, and its N objects.

    Attributes:
        image: (h, w, 3) as the dataset has it.
        inputs: (3, H, W), resized, normalised and padded.
        size: (height, width) of the image inside the padded input.
        boxes: (N, 4) xyxy in [0, 1] of the padded input.
        masks: (N, h, w) bool, of the image.
        labels, track_ids: (N,).
    """

    image: Image
    inputs: Tensor
    size: tuple[int, int]
    boxes: Tensor
    masks: Tensor
    labels: Tensor
    track_ids: Tensor

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the network's input."""
        return self.inputs.shape[1], self.inputs.shape[2]

    @property
    def unit(self) -> Tensor:
        """(W, H, W, H): what boxes are multiplied with to be in pixels of the input."""
        height, width = self.input_size
        return torch.tensor([width, height, width, height])


def read_frame(dataset: VideoDataset, preprocessor: FramePreprocessor, *, video: int, position: int) -> AnnotatedFrame:
    """A frame of a dataset by the positions of its video and in it."""
    image, found = dataset.read_frame(video, position), dataset.instances(video, position)
    masks = torch.from_numpy(np.stack(found.masks)).bool() if len(found) else torch.zeros(0, *image.shape[:2]).bool()
    (height, width), (padded_h, padded_w) = (preprocessor.height, preprocessor.width), preprocessor.padded_size
    return AnnotatedFrame(
        image=image,
        inputs=preprocessor(image),
        size=(height, width),
        boxes=from_masks(masks) * torch.tensor([width / padded_w, height / padded_h] * 2),
        masks=masks,
        labels=torch.from_numpy(found.labels),
        track_ids=torch.from_numpy(found.track_ids),
    )


def annotated_at(dataset: VideoDataset, *, part: float = 0.5) -> tuple[int, int]:
    """(video, position) of the annotated frame at this part, 0 to 1, of all of them."""
    frames = dataset.annotated_frames
    return dataset.locate(int(frames[min(int(part * len(frames)), len(frames) - 1)]))


def show_frame(axis: Axes, frame: AnnotatedFrame, *, fade: float = 0.0) -> None:
    """The image, in pixels of the network's input; `fade` towards white lets drawings stand out.

    What lies outside of the image is grey.
    """
    height, width = frame.size
    image = np.rint(frame.image * (1 - fade) + 255 * fade).astype(np.uint8)
    axis.imshow(image, extent=(0, width, height, 0), interpolation="antialiased")
    axis.set(xlim=(0, width), ylim=(height, 0), facecolor="#dddddd")
