"""A camera or an address that was opened once: its frames, and why they ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from stmask.errors import DataError
from stmask.inference.containers import open_elsewhere, reason
from stmask.inference.film import FPS_RANGE, STRICT, choose, quarter_turned, usable_aspect
from stmask.inference.places import Place

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame

_log = logging.getLogger(__name__)
_FALLBACK_FPS = 25.0  # for a stream that does not say
_MICROSECONDS = 1_000_000  # a second, in the unit of a container's duration
_MISSING_FRAMES, _MISSING_SHARE = 5, 0.01  # what may be missing at the end, since lengths are rounded


class Connection:
    """A stream that was opened once. Iterate over its frames in a `with` block, which closes it.

    Attributes:
        live: it has no length.
        fps: as stated.
        frames: about how many, 0 if unknown.
        pixel_aspect: of the frames as they are shown.
        lost: after the iteration, why it ended if it should not have; else None.
    """

    def __init__(self, place: Place, seconds: float) -> None:
        self._name, self._seconds = place.name, seconds
        self._is_camera = place.camera is not None or place.name.startswith("rtsp")  # which do not end by themselves
        self._count = 0
        self._end = Fraction(0)  # of what came, in seconds after the first
        self.lost: str | None = None
        self._container: InputContainer = open_elsewhere(place, seconds=seconds)
        try:
            self._stream: Any = choose(self._container, self._name)
            self._stream.thread_type = "SLICE"
            self._describe()
        except BaseException:
            self._container.close()
            raise

    def _describe(self) -> None:
        stream = self._stream
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        self.fps = rate if FPS_RANGE[0] <= rate <= FPS_RANGE[1] else _FALLBACK_FPS
        length = stream.duration * stream.time_base if stream.duration else None
        if length is None and self._container.duration:
            length = Fraction(self._container.duration, _MICROSECONDS)
        self._length = length
        self.live = length is None and (self._is_camera or self._container.size <= 0)
        self.frames = 0 if length is None else int(stream.frames) or round(float(length) * self.fps)
        if not self.live:
            stream.codec_context.options = STRICT
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is None:
            raise DataError(f"cannot read {self._name}: {self.lost or 'it holds no frames'}")
        aspect = stream.sample_aspect_ratio or Fraction(1)
        self.pixel_aspect = usable_aspect(1 / aspect if aspect and quarter_turned(self._first) else aspect)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def _decode(self) -> Iterator[VideoFrame]:
        """Frames that can be shown; what is damaged is left out of what is live, and an error elsewhere."""
        damaged = 0
        broken: str | None = None
        for packet in self._packets():
            if broken is not None:
                if packet is None and self.lost is not None:
                    break
                raise DataError(f"cannot decode {self._name} near frame {self._count}: {broken}")
            why, frames = self._decoded(packet)
            if why is not None:
                damaged += 1
            if why is not None and not self.live:
                broken = why  # or the last packet, cut: what comes next tells
                continue
            for frame in frames:
                self._count += 1
                yield frame
        if damaged and self.live:
            _log.warning("%s: damaged frames were left out: %d", self._name, damaged)

    def _decoded(self, packet: Packet[Any] | None) -> tuple[str | None, list[VideoFrame]]:
        """What is wrong with a packet, if anything, and its frames that are right."""
        try:
            frames = self._stream.decode(packet)
        except EOFError:  # the decoder has given all it had
            return None, []
        except (OSError, ValueError) as error:  # FFmpeg's errors are of these
            return reason(error), []
        good = [frame for frame in frames if not frame.is_corrupt and frame.width and frame.height]
        return None if len(good) == len(frames) else "it is damaged", good

    def _packets(self) -> Iterator[Packet[Any] | None]:
        """As they come, and None in the end, for the frames that the decoder still holds."""
        import av

        began: Fraction | None = None
        packets = self._container.demux(self._stream)
        why = None
        try:
            for packet in packets:
                if not packet.size:
                    break
                if packet.is_corrupt and not self.live:  # the rest of it did not come
                    why = "it broke off"
                    break
                if packet.pts is not None and packet.time_base is not None:
                    began = packet.pts * packet.time_base if began is None else began
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base - began)
                yield packet
        except av.error.EOFError:
            pass
        except av.error.ExitError:
            why = f"nothing came for {self._seconds:g} s"
        except av.error.FFmpegError as error:
            why = f"it broke off ({reason(error)})"
        if self._length is not None:
            missing = float(self._length - self._end)
            whole = missing <= max(_MISSING_FRAMES / self.fps, _MISSING_SHARE * float(self._length))
            self.lost = (
                None if whole else why or f"it ended after {float(self._end):.1f} of {float(self._length):.1f} s"
            )
        else:
            self.lost = why or ("it ended" if self._is_camera else None)
        yield None
