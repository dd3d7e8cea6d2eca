"""Several videos at once: one frame of each goes through the network in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stmask.inference.recorded import RecordedSteps
from stmask.inference.segmenter import VideoSegmenter, as_image
from stmask.structures import TrackedFrame

Image = npt.NDArray[np.uint8]


class SideBySide:
    """Segments and tracks V videos frame by frame, with one batch for the frames of all of them.

    >>> videos = SideBySide(segmenter, videos=2)
    >>> first, second = videos.step([frame_of_one, frame_of_other])

    On a GPU it is one CUDA graph; see `stmask.inference.recorded`.
    """

    def __init__(self, segmenter: VideoSegmenter, *, videos: int, graphs: bool = True) -> None:
        """
        Args:
            segmenter: whose model and settings are used; its own video is not touched.
            videos: how many, V.
            graphs: as `VideoSegmenter` has it.
        """
        if videos < 1:
            raise ValueError(f"videos must be at least 1, got {videos}")
        self._segmenter = segmenter
        self._trackers = segmenter.trackers(videos)
        self._indices = [0] * videos
        self._recorded = segmenter.recorded(videos=videos) if graphs else None

    def reset(self, video: int) -> None:
        """The next frame of this video, a number from 0, is the first of another one."""
        self._indices[video] = 0
        self._trackers[video].reset()
        if self._recorded is not None:
            self._recorded.reset(video)

    def step(self, frames: Sequence[Image | None]) -> list[TrackedFrame | None]:
        """The next frame of each video, (h, w, 3) uint8 RGB of any size; None for a video that has none now.

        Raises:
            ValueError: not as many as there are videos, or not frames.
        """
        if len(frames) != len(self._indices):
            raise ValueError(f"{len(self._indices)} videos need as many frames, got {len(frames)}")
        images = [None if frame is None else as_image(frame) for frame in frames]
        tracked = self._in_one_pass(images) if self._recorded is None else self._by_graph(images, self._recorded)
        for video, frame in enumerate(tracked):
            self._indices[video] += frame is not None
        return tracked

    def _by_graph(self, images: Sequence[Image | None], recorded: RecordedSteps) -> list[TrackedFrame | None]:
        resize = self._segmenter.preprocessor.resize
        recorded.load([None if image is None else resize(image) for image in images])
        results = recorded.results(recorded.run())
        return [
            None if image is None else TrackedFrame(index, *result, placement=self._segmenter.placement)
            for image, index, result in zip(images, self._indices, results, strict=True)
        ]

    def _in_one_pass(self, images: Sequence[Image | None]) -> list[TrackedFrame | None]:
        shown = [(tracker, image) for tracker, image in zip(self._trackers, images) if image is not None]
        if not shown:
            return [None for _ in images]
        tracked = iter(self._segmenter.step_many([image for _, image in shown], [tracker for tracker, _ in shown]))
        return [None if image is None else next(tracked) for image in images]
