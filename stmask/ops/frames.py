"""Prepares an image from a camera or file for the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.constants import constant

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, of pixel values in [0, 255]
IMAGENET_STD = (58.395, 57.12, 57.375)
_LARGEST_SIDE = 16_384  # pixels


@dataclass(frozen=True, slots=True)
class FramePreprocessor:
    """Resizes to exactly height x width (the aspect ratio is not kept, as the authors do), normalises, pads.

    Attributes:
        height, width: size in pixels to which every frame is resized.
        divisor: the network input is padded with zeros (the mean colour), at the bottom and right, to its multiple.
        mean, std: RGB, of pixel values in [0, 255].
    """

    height: int = 360
    width: int = 640
    divisor: int = 32
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.divisor < 1:
            raise ValueError(
                f"height, width and divisor must be positive, got {self.height}, {self.width}, {self.divisor}"
            )
        if max(self.padded_size) > _LARGEST_SIDE:
            raise ValueError(f"the input may have {_LARGEST_SIDE} pixels a side, got {self.padded_size}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError(f"mean must be finite and std positive, got {list(self.mean)} and {list(self.std)}")

    @property
    def padded_size(self) -> tuple[int, int]:
        """(H, W) of the network input."""
        return -(-self.height // self.divisor) * self.divisor, -(-self.width // self.divisor) * self.divisor

    def resize(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """An (h, w, 3) image at height x width."""
        if image.shape[:2] == (self.height, self.width):
            return image
        return np.asarray(cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

    def normalise(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """A resized RGB image (h <= H, w <= W, 3) uint8 as float32 (3, H, W), normalised and padded."""
        h, w = image.shape[:2]
        out = torch.zeros(3, *self.padded_size)
        levels = np.arange(256, dtype=np.float32)[:, None]
        # a table of the 256 values of each channel, (3, 256): several times faster than arithmetic on every pixel
        table = np.ascontiguousarray(((levels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)).T)
        for plane, channel, row in zip(out.numpy(), cv2.split(image), table, strict=True):
            cv2.LUT(channel, row, dst=plane[:h, :w])
        return out

    def normalise_batch(self, images: Tensor) -> Tensor:
        """Resized RGB images (B, height, width, 3) uint8 as `normalise` does, where they are: (B, 3, H, W)."""
        (h, w), (padded_h, padded_w) = images.shape[1:3], self.padded_size
        pixels = images.float()
        values = (pixels - constant(self.mean, pixels)) / constant(self.std, pixels)
        return F.pad(values.permute(0, 3, 1, 2), (0, padded_w - w, 0, padded_h - h))

    def restore(self, inputs: Tensor) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3) uint8 RGB of a network input (3, H, W), its padding included: to look at it."""
        std, mean = inputs.new_tensor(self.std), inputs.new_tensor(self.mean)
        pixels = (inputs.movedim(0, -1) * std + mean).round().clamp(0, 255).to(torch.uint8)
        return np.asarray(pixels.cpu().numpy())

    def __call__(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """An RGB frame (h, w, 3) uint8 of any size as network input (3, H, W) float32."""
        return self.normalise(self.resize(image))
