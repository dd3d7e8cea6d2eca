"""Random changes of training frames, the same geometry for all frames of a clip. The only user of albumentations.

Its generator lives in the pipeline object, and worker processes would all draw the same numbers and repeat them every
epoch; so every call here seeds the pipeline with a number that belongs to the sample.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.number_checks import require_number

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly training frames are changed; everything off is `Augmentation(flip=0, scale=(1, 1), colour=0)`.

    Attributes:
        flip: probability of a horizontal flip.
        scale: smallest and largest magnification, at least 1; the frame is enlarged by a random factor relative to the
            network input and a window of the input's size is cropped. (1, 4/3) is the jitter of the short side from 360
            to 480 of the paper's setting.
        aspect: largest factor by which the ratio of width to height changes, at least 1.
        min_visible: an object of whose box a crop leaves less than this share is neither learned nor background.
        colour: probability of a change of colour by up to these fractions: brightness, contrast, saturation, hue.
        separate_colour: draws the colours of the frames of a clip independently instead of together.
    """

    flip: float = 0.5
    scale: Sequence[float] = (1.0, 4 / 3)
    aspect: float = 1.0
    min_visible: float = 0.0
    colour: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    separate_colour: bool = False

    def __post_init__(self) -> None:
        for name in ("flip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")
        require_number(high=1.0, min_visible=self.min_visible)
        if len(self.scale) != 2 or not 1 <= self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two factors with 1 <= smallest <= largest, got {list(self.scale)}")
        if self.aspect < 1:
            raise ValueError(f"aspect must be at least 1, got {self.aspect}")
        for name in ("brightness", "contrast", "saturation", "hue"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.hue > 0.5:
            raise ValueError(f"hue must be at most 0.5, got {self.hue}")

    @property
    def crops(self) -> bool:
        """Whether objects may leave the frame."""
        return self.scale[1] > 1 or self.aspect > 1


NO_AUGMENTATION = Augmentation(flip=0.0, scale=(1.0, 1.0), colour=0.0)
"""Frames are resized and nothing else."""


class ClipAugmenter:
    """Brings the frames and masks of a clip to height x width, changed at random but reproducibly."""

    def __init__(self, augmentation: Augmentation, *, height: int, width: int) -> None:
        self.augmentation = augmentation
        self.height = height
        self.width = width
        _albumentations()  # here, not in each worker process: importing after a fork is slow and can hang
        self._geometry: dict[tuple[int, int], Any] = {}  # by frame size
        self._colour = self._make_colour()

    def __call__(
        self, frames: Sequence[Image], masks: Sequence[Sequence[Image]], seed: int
    ) -> tuple[list[Image], list[list[Image]], list[list[bool]]]:
        """Frames (h, w, 3) and masks (h, w) of T frames of one size; the same seed gives the same result.

        Returns:
            The frames (height, width, 3); their masks, as many as before, empty where the object left; and which
            of these show enough of their object to be learned.
        """
        geometry_seed, *colour_seeds = (int(n) for n in np.random.SeedSequence(seed).generate_state(1 + len(frames)))
        flat = [mask for of_frame in masks for mask in of_frame]
        pipeline = self._geometry_of(*frames[0].shape[:2])
        pipeline.set_random_seed(geometry_seed)
        boxes, rows = _boxes(flat)
        result = pipeline(images=list(frames), masks=flat, bboxes=boxes, rows=rows)
        images: list[Image] = list(result["images"])
        enough = {int(row) for row in result["rows"]}
        moved = iter(enumerate(result["masks"]))
        numbered = [[next(moved) for _ in of_frame] for of_frame in masks]
        return (
            self._recolour(images, colour_seeds),
            [[mask for _, mask in of_frame] for of_frame in numbered],
            [[row in enough and bool(mask.any()) for row, mask in of_frame] for of_frame in numbered],
        )

    def _recolour(self, images: list[Image], seeds: list[int]) -> list[Image]:
        if self._colour is None:
            return images
        if not self.augmentation.separate_colour:
            self._colour.set_random_seed(seeds[0])
            return list(self._colour(images=np.stack(images))["images"])
        changed = []
        for image, seed in zip(images, seeds, strict=True):
            self._colour.set_random_seed(seed)
            changed.append(self._colour(image=image)["image"])
        return changed

    def _geometry_of(self, height: int, width: int) -> Any:
        if (height, width) not in self._geometry:
            self._geometry[height, width] = self._make_geometry(height, width)
        return self._geometry[height, width]

    def _make_geometry(self, height: int, width: int) -> Any:
        a, how = _albumentations(), self.augmentation
        size, nearest = (self.height, self.width), cv2.INTER_NEAREST_EXACT  # the plain one is off by half a pixel
        if how.crops:
            ratio = width / height
            resize = a.RandomResizedCrop(
                size=size,
                scale=(how.scale[1] ** -2, how.scale[0] ** -2),
                ratio=(ratio / how.aspect, ratio * how.aspect),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=nearest,
            )
        else:
            resize = a.Resize(*size, interpolation=cv2.INTER_LINEAR, mask_interpolation=nearest)
        # Its own shape check copies every frame and mask, and takes longer than the augmentation itself.
        boxes = a.BboxParams(format="pascal_voc", label_fields=["rows"], min_visibility=how.min_visible)
        return a.Compose([resize, a.HorizontalFlip(p=how.flip)], bbox_params=boxes, is_check_shapes=False)

    def _make_colour(self) -> Any:
        how = self.augmentation
        if how.colour == 0:
            return None
        a = _albumentations()
        jitter = a.ColorJitter(
            brightness=(1 - how.brightness, 1 + how.brightness),
            contrast=(1 - how.contrast, 1 + how.contrast),
            saturation=(1 - how.saturation, 1 + how.saturation),
            hue=(-how.hue, how.hue),
            p=how.colour,
        )
        return a.Compose([jitter])


@dataclass(frozen=True, slots=True)
class Motion:
    """How far a still image moves when it stands in for two frames of a video.

    Attributes:
        shift: largest shift, as a fraction of width and height.
        scale: largest relative change of size.
        rotate, shear: largest angles in degrees.
    """

    shift: float = 0.1
    scale: float = 0.15
    rotate: float = 10.0
    shear: float = 5.0

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("rotate", "shear"):
            if not 0 <= getattr(self, name) < 90:
                raise ValueError(f"{name} must be in [0, 90) degrees, got {getattr(self, name)}")


class ImageMover:
    """Moves an image and its masks by a random affine map; areas that come into view are grey."""

    _GREY = (124, 116, 104)  # the mean colour of ImageNet

    def __init__(self, motion: Motion) -> None:
        a = _albumentations()
        affine = a.Affine(
            translate_percent=(-motion.shift, motion.shift),
            scale=(1 - motion.scale, 1 + motion.scale),
            rotate=(-motion.rotate, motion.rotate),
            shear=(-motion.shear, motion.shear),
            fill=self._GREY,
            fill_mask=0,
            p=1.0,
        )
        self._pipeline = a.Compose([affine], is_check_shapes=False)

    def __call__(self, image: Image, masks: Sequence[Image], seed: int) -> tuple[Image, list[Image]]:
        """The same seed gives the same motion; a mask whose object left is empty."""
        self._pipeline.set_random_seed(seed)
        result = self._pipeline(image=image, masks=list(masks))
        return result["image"], list(result["masks"])


def _boxes(masks: Sequence[Image]) -> tuple[npt.NDArray[np.float32], list[int]]:
    """The boxes (N, 4) x1, y1, x2, y2 of the masks that show anything, and which masks these are."""
    sides = np.array([cv2.boundingRect(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)
    sides[:, 2:] += sides[:, :2]
    shown = (sides[:, 2] > sides[:, 0]).nonzero()[0]
    return sides[shown], shown.tolist()


def _albumentations() -> Any:
    """The library, imported on first use (which takes two seconds) and kept from checking online for updates."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations
