"""Final results: tracks of whole videos, instances of images, with run-length encoded masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class RLE(TypedDict):
    """A compressed run-length encoded mask as in COCO: size is [height, width], counts an ASCII str."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True)
class TrackResult:
    """One object of one video.

    Attributes:
        track_id: unique in its video.
        label: 1..K, index into the dataset's class list plus one (not the dataset's category id).
        score: mean of the scores of the frames where the track was reported.
        segmentations: one RLE at the video's own size, or None, for each frame of the video.
    """

    track_id: int
    label: int
    score: float
    segmentations: tuple[RLE | None, ...]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """All tracks of one video; every track has one entry for each of its `length` frames."""

    video_id: int
    length: int
    tracks: tuple[TrackResult, ...]

    def __post_init__(self) -> None:
        for track in self.tracks:
            if len(track.segmentations) != self.length:
                raise ValueError(
                    f"track {track.track_id} of video {self.video_id} has {len(track.segmentations)} entries, "
                    f"the video has {self.length} frames"
                )


@dataclass(frozen=True, slots=True)
class ImageInstance:
    """One object of one image.

    Attributes:
        label: 1..K, index into the dataset's class list plus one (not the dataset's category id).
        score: in [0, 1].
        box_px: x1, y1, x2, y2 in pixels of the image.
        segmentation: its mask at the image's own size.
    """

    label: int
    score: float
    box_px: tuple[float, float, float, float]
    segmentation: RLE


@dataclass(frozen=True, slots=True)
class ImageResult:
    """All instances of one image, best first."""

    image_id: int
    instances: tuple[ImageInstance, ...]
