"""Inspects a video file: which stream is the film, when its frames come, and their orientation."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stmask.errors import DataError
from stmask.inference.containers import STATING_DURATION, open_container, reason
from stmask.inference.source import FrameRange, TimedFrame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]

FPS_RANGE = (0.01, 1000.0)  # that a file is read or written with
MAX_FPS_DENOMINATOR = 1001
_log = logging.getLogger(__name__)
STRICT = {"err_detect": "explode"}  # else the decoder silently conceals or drops damaged frames
_FALLBACK_FPS = 25.0  # for a file that does not say
_MICROSECOND = Fraction(1, 1_000_000)  # unit of a container's duration
_SAME_RATE = 0.005  # two lengths of a film agree when they differ by less than this share, or by one frame
_MISSING_FRAMES, _MISSING_SHARE, _MISSING_SECONDS = 5, 0.01, 2.0  # what may be missing at the end of a film
_LARGEST_ASPECT = 65535  # numerator and denominator that H.264 can hold
_UNEVEN = 0.1  # of the time of a frame, that one may come early or late in an even film
_ROUNDING = 0.0011  # seconds: many files have times in milliseconds
_GAP = 1.9  # times the usual gap between two frames: smaller differences are only rounding
_BROADCAST = ("mpegts", "mpeg")  # if interlaced, they may store the two fields of a frame in separate packets
_TAIL_BYTES = 4096
_ALL = FrameRange()
_ZERO = Fraction(0)
_VP8_SHOWN = 0x10  # bit in the first byte of a frame


@dataclass(frozen=True, slots=True)
class Film:
    """What is known about the film in a file before decoding.

    Attributes:
        stream: its index among all streams of the file.
        times: of its frames, in seconds after the first, as far as the file has them.
        start: time of the first frame in the file's own count, in seconds.
        fps: the rate at which all frames take as long as the film.
        pixel_aspect: width to height of a pixel, of the frame as it is shown.
    """

    stream: int
    times: npt.NDArray[np.float64]
    start: Fraction
    fps: float
    pixel_aspect: Fraction

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.times)

    @property
    def even(self) -> bool:
        """Whether all frames come at the rate `fps`: none is off by more than rounding and a tenth of its time."""
        off = self.times - np.arange(len(self.times)) / self.fps
        return bool((np.abs(off) <= _ROUNDING + _UNEVEN / self.fps).all())


def describe(path: Path) -> Film:
    """Reads through the file, decoding the first frame only.

    Raises:
        DataError: no video that can be read, or one that ends before the end that the file states.
    """
    with open_container(path) as container:
        stream = choose(container, path)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        first = next(_frames(container, stream, path), None)
        if first is None:
            raise DataError(f"{path} holds no frames")
        if quarter_turned(first):
            aspect = 1 / aspect if aspect else aspect
        index = stream.index
    with open_container(path) as container:
        times = _Times(container, container.streams[index])
        times.require_whole(path)
        times.warn_of_gaps(path)
        fps = times.fps()  # a stream can't be asked after its file's end
        return Film(index, times.since_first(fps), times.start, fps, usable_aspect(aspect))


def decode(path: Path, film: Film, wanted: FrameRange = _ALL) -> Iterator[TimedFrame]:
    """The chosen frames, upright; nothing is converted of the others.

    Raises:
        DataError: a frame that is damaged; the message says which.
    """
    with open_container(path) as container:
        stream: Any = container.streams[film.stream]
        clock, picker = Clock(film.fps, start=film.start), wanted.picker()
        count = 0
        for frame in _frames(container, stream, path):
            time = clock.time(frame)
            if picker.takes(count, time):
                try:
                    image = upright(frame)
                except (OSError, ValueError) as error:  # FFmpeg's errors are of these
                    raise _broken(path, count, reason(error)) from error
                yield TimedFrame(image, count, time)
            count += 1
            if picker.done:
                return
        if count < film.frames and container.format.name not in _BROADCAST:
            _log.warning("%s holds %d frames, of which only %d could be decoded", path, film.frames, count)


class Clock:
    """Gives each frame a time in seconds after the first, which always grows: its own where that is possible."""

    def __init__(self, fps: float, *, start: Fraction | None = None, offset: Fraction = _ZERO) -> None:
        """
        Args:
            fps: for frames that have no time, or an earlier one than the frame before.
            start: the first frame's time in the file's own count; default that of the first frame that comes.
            offset: seconds to add to all.
        """
        self._interval = 1 / Fraction(fps).limit_denominator(MAX_FPS_DENOMINATOR)
        self._start = start
        self._offset = offset
        self._last: Fraction | None = None

    def time(self, frame: VideoFrame) -> Fraction:
        """Of the next frame."""
        stated = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        if self._start is None:
            self._start = stated
        time = None if stated is None or self._start is None else stated - self._start + self._offset
        if self._last is None:
            time = self._offset if time is None else max(time, self._offset)
        elif time is None or time <= self._last:
            time = self._last + self._interval
        self._last = time
        return time


def choose(container: InputContainer, path: Path | str) -> VideoStream:
    """The stream that players show; cover pictures do not count."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in container.streams.video if not stream.disposition & still]
    if not films:
        what = "video but a picture, as sound files have for a cover" if container.streams.video else "video stream"
        raise DataError(f"{path} holds no {what}")
    best: Any = container.streams.best("video")
    chosen: VideoStream = best if best in films else films[0]
    if len(films) > 1:
        others = ", ".join(_named(film) for film in films if film is not chosen)
        _log.warning("%s holds %d videos: %s is read, not %s", path, len(films), _named(chosen), others)
    return chosen


def _named(stream: VideoStream) -> str:
    codec = stream.codec_context
    return f"stream {stream.index}" + (f" ({codec.name}, {codec.width} x {codec.height})" if codec else "")


def _frames(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    import av

    if stream.codec_context is None:
        raise DataError(f"cannot read {path} as a video: FFmpeg has no decoder for it here")
    stream.thread_type = "SLICE"  # threads over frames would lose the errors of the last frames
    stream.codec_context.options = STRICT
    count = 0
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise _broken(path, count, "it is damaged")
            if not (frame.width and frame.height):
                raise _broken(path, count, f"its size is {frame.height} x {frame.width}")
            yield frame
            count += 1
    except av.error.FFmpegError as error:
        raise _broken(path, count, reason(error)) from error


def _broken(path: Path, frame: int, why: str) -> DataError:
    return DataError(
        f"cannot decode {path} near frame {frame}: {why}; to go on without what is damaged, "
        f"repair it first: ffmpeg -i {path.name} {_repaired(path)}"
    )


def _repaired(path: Path) -> str:
    return path.with_stem(f"{path.stem}_repaired").name


# ---------------------------------------------------------------- times


class _Times:
    """Times of the packets of a container, in seconds; nothing is decoded.

    Attributes:
        frames: of the stream, that are shown.
    """

    def __init__(self, container: InputContainer, stream: Any) -> None:
        import av

        self.frames = 0
        self._container, self._stream = container, stream
        self._first: Fraction | None = None
        self._last: Fraction | None = None
        self._end = self._end_of_shown = self._end_of_all = Fraction(0)  # what is cut away at the end lies between
        self._shown: list[int] = []  # when, in units of the stream
        try:
            for packet in container.demux():
                self._add(packet)
        except av.error.FFmpegError:  # as far as the file goes
            return

    def _add(self, packet: Packet[Any]) -> None:
        if not packet.size or packet.time_base is None:  # after the last, or "as before" in AVI
            return
        of_film = packet.stream_index == self._stream.index
        shown = of_film and not packet.is_discard and _shows_a_frame(packet, self._stream)
        self.frames += shown
        ticks = packet.dts if packet.pts is None else packet.pts
        if ticks is None:
            return
        time = ticks * packet.time_base
        end = time + (packet.duration or 0) * packet.time_base
        self._end_of_all = max(self._end_of_all, end)
        if of_film:
            self._end = max(self._end, end)
        if shown:
            self._shown.append(ticks)
            self._end_of_shown = max(self._end_of_shown, end)
            self._first = time if self._first is None else min(self._first, time)
            self._last = time if self._last is None else max(self._last, time)

    @property
    def start(self) -> Fraction:
        """Of the first frame; 0 where frames have no times."""
        return self._first or Fraction(0)

    def since_first(self, fps: float) -> npt.NDArray[np.float64]:
        """The time of each frame (frames,) after the first; at an even `fps` where not all have one."""
        if len(self._shown) < self.frames:
            return np.arange(self.frames) / fps
        ticks = np.sort(np.array(self._shown, dtype=np.int64))
        return np.asarray((ticks - ticks[:1]) * float(self._stream.time_base), dtype=np.float64)

    def fps(self) -> float:
        """The rate that the file states if it agrees with the times of the frames, else that of the times."""
        stream = self._stream
        stated = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        if self.frames > 1 and self._first is not None and self._last is not None and self._last > self._first:
            until_last = self._last - self._first
            length = float(until_last + max(self._end_of_shown - self._last, Fraction(0)))
            if self._end_of_shown <= self._last:  # how long the last frame stays is not stated
                length = float(until_last * self.frames / (self.frames - 1))
            by_times = self.frames / length
            tolerance = max(_SAME_RATE * length, 1 / by_times)
            packets = (1, 2) if self._container.format.name in _BROADCAST else (1,)
            if not stated or all(abs(self.frames / (n * stated) - length) > tolerance for n in packets):
                return float(np.clip(by_times, *FPS_RANGE))
        return stated if FPS_RANGE[0] <= stated <= FPS_RANGE[1] else _FALLBACK_FPS

    def warn_of_gaps(self, path: Path) -> None:
        """Warns if frames come unevenly: recorded that way, or lost; FFmpeg skips what it can't parse."""
        steps = np.diff(np.sort(np.array(self._shown, dtype=np.int64)))
        usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        if usual and steps.max() >= _GAP * usual:
            seconds = float(self._stream.time_base)
            _log.warning(
                "%s: frame %d comes %.3g s after the one before it, most come after %.3g s. It was recorded so, or "
                "frames were lost",
                *(path, int(steps.argmax()) + 1, float(steps.max()) * seconds, usual * seconds),
            )

    def require_whole(self, path: Path) -> None:
        """Raises DataError if the file holds much less than it states: it was cut off, or never finished."""
        if self._container.format.name == "gif" and not _has_gif_end(path):
            raise DataError(_cut_off(path, f"{self.frames} frames and without the mark of its end"))
        stated, found = self._lengths()
        missing = float(stated - found)
        interval = float(found) / max(self.frames, 1)
        if missing > max(_MISSING_FRAMES * interval, min(_MISSING_SHARE * float(stated), _MISSING_SECONDS)):
            frames = self._stream.frames or (round(self.frames * float(stated / found)) if found else "many")
            said = f"{self.frames} frames ({float(found):.1f} s) of the {frames} ({float(stated):.1f} s) that it states"
            raise DataError(_cut_off(path, said))

    def _lengths(self) -> tuple[Fraction, Fraction]:
        """The length in seconds that the file states, of the film or else of all that is in it, and what came of it."""
        stream, container = self._stream, self._container
        if container.format.name not in STATING_DURATION:
            return Fraction(0), Fraction(0)  # only estimated
        if stream.duration is not None:
            stated = stream.duration * stream.time_base
            if container.format.name == "avi":  # there the duration is corrected from the packets
                stated = max(stated, stream.frames / (stream.average_rate or Fraction(1)))
            return stated, self._end - min((stream.start_time or 0) * stream.time_base, self._first or Fraction(0))
        return (container.duration or 0) * _MICROSECOND, self._end_of_all


def _cut_off(path: Path, after: str) -> str:
    return (
        f"{path} ends after {after}: it was cut off; to go on with what is there, "
        f"copy that first: ffmpeg -i {path.name} -c copy {_repaired(path)}"
    )


def _has_gif_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        return file.read().rstrip(b"\0\r\n ").endswith(b";")


def _shows_a_frame(packet: Packet[Any], stream: VideoStream) -> bool:
    """VP8 keeps reference-only pictures in packets of their own."""
    codec = stream.codec_context
    return codec is None or codec.name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOWN)


# ---------------------------------------------------------------- shape


def _display_matrix(frame: VideoFrame) -> npt.NDArray[np.int32]:
    """(2, 2): the columns are where a step to the right and a step down of the stored picture lead on the screen."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=np.int32)
    rows: npt.NDArray[np.int32] = np.frombuffer(bytes(data), dtype=np.int32, count=9).reshape(3, 3)
    return np.ascontiguousarray(rows[:2, :2].T)


def quarter_turned(frame: VideoFrame) -> bool:
    """Whether a frame is to be turned by 90 degrees to the left or right."""
    return _turns(_display_matrix(frame))


def _turns(matrix: npt.NDArray[np.int32]) -> bool:
    size = np.abs(matrix.astype(np.int64))
    return bool(size[0, 1] + size[1, 0] > size[0, 0] + size[1, 1])


def upright(frame: VideoFrame) -> Image:
    """As RGB, turned and mirrored as the file asks for (phones store videos lying, front cameras mirrored)."""
    image = frame.to_ndarray(format="rgb24")
    matrix = _display_matrix(frame)
    if _turns(matrix):
        image, matrix = image.transpose(1, 0, 2), matrix[:, ::-1]
    if matrix[0, 0] < 0:
        image = image[:, ::-1]
    if matrix[1, 1] < 0:
        image = image[::-1]
    return np.ascontiguousarray(image, dtype=np.uint8)


def usable_aspect(aspect: Fraction) -> Fraction:
    """Square pixels in place of an absurd ratio."""
    fits = 0 < aspect.numerator <= _LARGEST_ASPECT and aspect.denominator <= _LARGEST_ASPECT
    return aspect if fits else Fraction(1)
