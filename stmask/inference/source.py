"""What a prediction reads: frames with their times, of a file, a folder, a camera or a stream, and which of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stmask.errors import ConfigError
from stmask.inference.sound import Sound

Image = npt.NDArray[np.uint8]

_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)s", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)", re.ASCII)
_FRAMES = re.compile(r"(\d+)f", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """One frame.

    Attributes:
        image: (h, w, 3) uint8 RGB, upright.
        index: its number in the source, from 0; frames that were left out count.
        time: seconds after the first frame of the whole source; greater than that of the frame before.
    """

    image: Image
    index: int
    time: Fraction


class FrameSource(Protocol):
    """Frames of one video, to be read once or again.

    Attributes:
        name: as people are shown it. Passwords, and what may hold one, are left out.
        stem: of the names of files that are written about it.
        path: the local file or folder; None for a camera or a stream.
        fps: frames per second that are yielded, on average; a guess for a camera or a stream.
        length: how many frames are yielded, as far as is known; None if it goes on until somebody ends it.
        pixel_aspect: width to height of a pixel as it is to be shown.
        even: the frames come at the rate `fps`; else each has a time of its own.
        sound: what is to be heard with it; None if nothing.
        incomplete: why it ended too early, once it has: a lost connection; else None. What came before is good.
    """

    @property
    def name(self) -> str: ...
    @property
    def stem(self) -> str: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def fps(self) -> float: ...
    @property
    def length(self) -> int | None: ...
    @property
    def pixel_aspect(self) -> Fraction: ...
    @property
    def even(self) -> bool: ...
    @property
    def sound(self) -> Sound | None: ...
    @property
    def incomplete(self) -> str | None: ...

    def frames(self) -> Iterator[TimedFrame]:
        """The frames, all of one size.

        Raises:
            DataError: no frames, or one that is broken.
        """
        ...

    def stop(self) -> None:
        """From another thread or a signal: the frames end before the next one, and so they do if read again."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in a video: a time in seconds, or a number of frames, after its beginning. One of them is given."""

    seconds: float | None = None
    frames: int | None = None

    @classmethod
    def parse(cls, text: str, *, key: str) -> Moment:
        """Reads "12.5s", "1:30" (minutes and seconds), "1:02:30" or "300f" (frames).

        Raises:
            ConfigError: anything else, a number without its unit included; `key` is named.
        """
        if found := _FRAMES.fullmatch(text):
            return cls(frames=int(found[1]))
        if found := _SECONDS.fullmatch(text):
            return cls(seconds=float(found[1]))
        if found := _CLOCK.fullmatch(text):
            hours, minutes, seconds = (float(part or 0) for part in found.groups())
            return cls(seconds=3600 * hours + 60 * minutes + seconds)
        instead = f"{key}={text}s for seconds or {key}={text}f for frames" if text.isdecimal() else f"{key}=12.5s"
        raise ConfigError(
            f"{key}={text} is not a place in a video; give {instead} (12.5s, 1:30 or 1:02:30 is a time, 300f a frame)"
        )

    def reached(self, index: int, time: float | Fraction) -> bool:
        """Whether a frame of this number and time lies here or later."""
        if self.frames is not None:
            return index >= self.frames
        return self.seconds is None or time >= self.seconds - _ROUNDING

    def __str__(self) -> str:
        return f"{self.seconds:g}s" if self.frames is None else f"{self.frames}f"


_ROUNDING = 1e-6  # seconds: times in files are rounded


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Which frames of a video are read.

    Attributes:
        stride: every so manieth frame, counted from the first that is read.
        start: the first frame at this place or after it.
        end: before the first frame at this place.
        max_frames: so many at most.
    """

    stride: int = 1
    start: Moment | None = None
    end: Moment | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for key, value in (("stride", self.stride), ("max_frames", self.max_frames)):
            if value is not None and value < 1:
                raise ConfigError(f"{key} is a number of frames and must be at least 1, got {value}")
        if self.start is not None and self.end is not None:
            begin, end = self.start, self.end
            if (begin.seconds or 0) >= (end.seconds or math.inf) or (begin.frames or 0) >= (end.frames or math.inf):
                raise ConfigError(f"end={end} must be after start={begin}")

    @property
    def by_time(self) -> bool:
        """Whether it names times, which a folder of images does not have."""
        return any(place is not None and place.seconds is not None for place in (self.start, self.end))

    def picker(self) -> Picker:
        """Chooses among the frames of one video, from its first on."""
        return Picker(self)

    def count(self, times: Sequence[float] | npt.NDArray[np.float64]) -> int:
        """How many frames are chosen of a video whose frames have these times."""
        picker = self.picker()
        chosen = 0
        for index, time in enumerate(times):
            chosen += picker.takes(index, time)
            if picker.done:
                break
        return chosen

    def __str__(self) -> str:
        given = {"stride": self.stride if self.stride > 1 else None, "start": self.start, "end": self.end}
        return " ".join(f"{key}={value}" for key, value in given.items() if value is not None)


class Picker:
    """A range at work in one video.

    Attributes:
        done: no later frame will be taken.
    """

    def __init__(self, wanted: FrameRange) -> None:
        self._wanted = wanted
        self._first: int | None = None
        self._taken = 0
        self.done = False

    def takes(self, index: int, time: float | Fraction) -> bool:
        """Whether the frame of this number and time is chosen; asked for every frame in order."""
        wanted = self._wanted
        if self.done or (wanted.end is not None and wanted.end.reached(index, time)):
            self.done = True
            return False
        if self._first is None:
            if wanted.start is not None and not wanted.start.reached(index, time):
                return False
            self._first = index
        if (index - self._first) % wanted.stride:
            return False
        self._taken += 1
        self.done = self._taken == wanted.max_frames
        return True
