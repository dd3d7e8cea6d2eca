"""A whole video, or an image, through a segmenter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stmask.inference.results import VideoResultBuilder, image_result
from stmask.inference.segmenter import VideoSegmenter
from stmask.structures import ImageResult, VideoResult

_INSTANCES_PER_IMAGE = 100  # as COCO scores them


class Video(Protocol):
    """As `stmask.data.VideoClip`: a video whose frames are decoded one by one."""

    @property
    def video_id(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]: ...


def segment_video(
    segmenter: VideoSegmenter, video: Video, *, on_frame: Callable[[], None] | None = None
) -> VideoResult:
    """Segments and tracks all frames of a video; masks are encoded at the video's own size.

    Args:
        segmenter: reset before the first frame.
        video: frames in order.
        on_frame: called after each frame, for progress bars.
    """
    segmenter.reset()
    builder = VideoResultBuilder(video.video_id)
    for frame in video:
        tracked = segmenter.step(frame)
        builder.add(tracked, tracked.masks_at(video.size))
        if on_frame is not None:
            on_frame()
    return builder.build(len(video))


def segment_image(
    segmenter: VideoSegmenter, image: Video, *, on_frame: Callable[[], None] | None = None
) -> ImageResult:
    """Segments an image, given as a video of one frame, without tracking: its best instances, at the image's own size.

    Args:
        on_frame: as in `segment_video`.
    """
    (pixels,) = image
    found = segmenter.detect(pixels)
    best = found.instances.scores.topk(min(len(found), _INSTANCES_PER_IMAGE)).indices
    result = image_result(image.video_id, found[best], image.size)
    if on_frame is not None:
        on_frame()
    return result
