"""The video with the instances drawn on it, and the sound of the source."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stmask.errors import OutputError
from stmask.inference.drawing import DrawStyle, draw_tracked
from stmask.inference.sinks.base import SegmentedFrame
from stmask.inference.sound import Sound
from stmask.inference.video import VideoEncoder
from stmask.overlap import Stage

Image = npt.NDArray[np.uint8]


class Clock(Protocol):
    """Counts the time that a block takes for a stage of the work."""

    def __call__(self, stage: str, /) -> AbstractContextManager[None]: ...


class DrawnVideo:
    """Draws frames and encodes them, in a thread of its own."""

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        even: bool,
        pixel_aspect: Fraction,
        sound: Sound | None,
        style: DrawStyle,
        class_names: Sequence[str],
        clock: Clock,
    ) -> None:
        """
        Args:
            path: ends in a video's suffix.
            fps: frames per second.
            even: the frames come at that rate; else each keeps its time.
            pixel_aspect: width to height of a pixel.
            sound: copied along, from the first frame's time to the last one's.
            style, class_names: of the drawing.
            clock: of the stages drawing and encoding.
        """
        self._path, self._fps, self._even, self._pixel_aspect = path, fps, even, pixel_aspect
        self._sound, self._style, self._class_names, self._clock = sound, style, class_names, clock
        self._open = ExitStack()
        self._encoding = self._open.enter_context(Stage("encoding"))
        self._encoder: VideoEncoder | None = None
        self._start = Fraction(0)

    def write(self, frame: SegmentedFrame) -> None:
        """Draws a frame and hands it to the encoder."""
        with self._clock("drawing"):
            drawn = draw_tracked(
                frame.image, frame.tracked, class_names=self._class_names, masks=frame.masks, style=self._style
            )
        if self._encoder is None:
            self._start = frame.time
            self._encoder = VideoEncoder(
                self._path,
                fps=self._fps,
                size=(drawn.shape[0], drawn.shape[1]),
                pixel_aspect=self._pixel_aspect,
                even=self._even,
                sound=None if self._sound is None else self._sound.opened(frame.time),
            )
        self._encoding.do(partial(self._encode, self._encoder, drawn, frame.time - self._start))

    def _encode(self, encoder: VideoEncoder, drawn: Image, time: Fraction) -> None:
        with self._clock("encoding"):
            encoder.write(drawn, time)

    def close(self) -> None:
        """Waits for the encoder and ends the file."""
        try:
            self._open.close()
        finally:
            if self._encoder is not None:
                with self._clock("encoding"):
                    self._encoder.close()
        if self._encoder is None:
            raise OutputError(f"cannot write {self._path}: there are no frames")
