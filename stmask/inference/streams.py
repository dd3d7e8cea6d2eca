"""Frames of cameras and of addresses (http, https, rtsp), read in a thread of their own.

What is live can't wait: frames that come while the network is busy with others are left out, the newest are kept. A
stream that stalls or breaks off is opened again a few times; then it ends, and what came until then is good.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stmask.errors import INTERRUPTED, DataError, Interrupted
from stmask.inference.containers import open_elsewhere, reason
from stmask.inference.film import FPS_RANGE, STRICT, Clock, choose, quarter_turned, upright, usable_aspect
from stmask.inference.places import Place
from stmask.inference.source import FrameRange, TimedFrame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame

_log = logging.getLogger(__name__)
_AHEAD = 3  # frames that wait for the network
_POLL = 0.2  # seconds after which a wait looks whether it is stopped
_FALLBACK_FPS = 25.0  # for a stream that does not say
_MICROSECONDS = 1_000_000  # a second, in the unit of a container's duration
_MISSING_FRAMES, _MISSING_SHARE = 5, 0.01  # what may be missing at the end, since lengths are rounded
_ALL = FrameRange()
_END = object()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stream is waited for.

    Attributes:
        seconds: for an answer, and between two frames.
        waits: before the first try to open it again, the second, ...; after the last it has ended. They begin anew
            after a connection that was good: it lasted longer than `seconds`, or brought more of a video.
    """

    seconds: float = 10.0
    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)


class StreamReader:
    """The frames of a camera or an address. It is a `FrameSource`.

    Attributes:
        name: what is read, without passwords.
        stem: of files that are written about it.
        path: None.
        fps: as stated, of the chosen frames.
        length: of a video that lies at an address, about; None for what is live.
        pixel_aspect: width to height of a pixel as it is to be shown.
        even: False, its frames have times of their own.
        sound: None, it is not kept.
        incomplete: why it ended too early, if it did.
        live: frames come when they are made, and can't be had again.
    """

    path: Path | None = None
    even = False
    sound = None

    def __init__(self, place: Place, wanted: FrameRange = _ALL, *, patience: Patience | None = None) -> None:
        """Opens it and reads its first frame, so that errors show before any work is done.

        Args:
            place: a camera or an address.
            wanted: which frames of it.
            patience: default `Patience()`.

        Raises:
            DataError: it can't be opened, or holds no video.
        """
        self.name, self.stem = place.name, place.stem
        self.incomplete: str | None = None
        self._place, self._wanted, self._patience = place, wanted, patience or Patience()
        self._stopped = threading.Event()
        self._opened: _Connection | None = self._connect()
        stated = self._opened
        self.live, self.pixel_aspect = stated.live, stated.pixel_aspect
        self.fps = float(np.clip(stated.fps / wanted.stride, *FPS_RANGE))
        self._rate = stated.fps
        times = np.arange(stated.frames) / stated.fps
        self.length = wanted.count(times) if stated.frames else wanted.max_frames

    def stop(self) -> None:
        """From another thread or a signal: the frames end at once."""
        self._stopped.set()

    def frames(self) -> Iterator[TimedFrame]:
        """The chosen frames, until the stream ends, is lost, or is stopped.

        Raises:
            DataError: a frame that is broken, where the stream is not live; no frames.
            Interrupted: stopped before the first frame.
        """
        belt = _Belt(drops=self.live)
        connection, self._opened = self._opened, None
        self.incomplete = None
        reader = threading.Thread(target=self._read, args=(belt, connection), name="stream", daemon=True)
        reader.start()
        left = self._wanted.max_frames
        count = 0
        try:
            while left is None or count < left:
                item = belt.take(self._stopped)
                if item is _END or self._stopped.is_set():
                    break
                if isinstance(item, BaseException):
                    raise item
                index, moment, frame = item
                count += 1
                yield TimedFrame(upright(frame), index, moment)
                del frame, item
        finally:
            belt.leave()  # the reader goes by itself, when its last wait is over
        if belt.dropped:
            _log.info("%s: frames that came faster than the network works, left out: %d", self.name, belt.dropped)
        if not count:
            if self._stopped.is_set():
                raise Interrupted(INTERRUPTED)
            raise DataError(f"{self.name} gave no frames" + (f": {self.incomplete}" if self.incomplete else ""))

    # ------------------------------------------------------------ in the thread

    def _read(self, belt: _Belt, connection: _Connection | None) -> None:
        try:
            self._read_all(belt, connection or self._connect())
        except BaseException as error:  # raised where the frames are taken
            belt.put(error)
        belt.put(_END)

    def _read_all(self, belt: _Belt, connection: _Connection) -> None:
        """Puts the frames on the belt, over as many connections as it takes."""
        state = _Progress(picker=replace(self._wanted, max_frames=None).picker())
        tries = 0
        while True:
            before, began = state.count, time.monotonic()
            lost = self._read_one(belt, connection, state)
            if state.count > before and (not self.live or time.monotonic() - began > self._patience.seconds):
                tries = 0
            if lost is None or belt.left or self._stopped.is_set():
                return
            while True:
                if tries == len(self._patience.waits):
                    self.incomplete = f"{lost}, and was opened again in vain {tries} times"
                    return
                wait = self._patience.waits[tries]
                tries += 1
                total = len(self._patience.waits)
                _log.warning("%s: %s; opening it again in %g s (%d of %d)", self.name, lost, wait, tries, total)
                if self._stopped.wait(wait) or belt.left:
                    return
                try:
                    connection = self._connect()
                    break
                except DataError as error:
                    lost = str(error).removeprefix(f"cannot read {self.name}: ")

    def _read_one(self, belt: _Belt, connection: _Connection, state: _Progress) -> str | None:
        """Reads one connection to its end; why it was lost, or None if the stream is over."""
        if self.live:
            offset = state.next_time(self._rate)
            number = state.count
        else:  # from its beginning again
            offset, number = Fraction(0), 0
        clock = Clock(connection.fps, offset=offset)
        with connection:
            for frame in connection:
                moment = clock.time(frame)
                index, number = number, number + 1
                if index < state.count:
                    continue  # came before
                size = (frame.height, frame.width, quarter_turned(frame))
                if size != state.size is not None:
                    if self.live:
                        self.incomplete = f"its frames changed from {_shown(state.size)} to {_shown(size)}"
                        return None
                    raise DataError(
                        f"frame {index} of {self.name} is {_shown(size)}, those before {_shown(state.size)}"
                    )
                state.saw(size, moment)
                if state.picker.takes(index, moment):
                    belt.put((index, moment, frame))
                if state.picker.done or belt.left or self._stopped.is_set():
                    return None
        return connection.lost

    def _connect(self) -> _Connection:
        return _Connection(self._place, self._patience.seconds)


class _Progress:
    """How far a stream was read, over all its connections."""

    def __init__(self, picker: Any) -> None:
        self.picker = picker
        self.count = 0
        self.size: tuple[int, int, bool] | None = None
        self._last = Fraction(0)
        self._began = time.monotonic()

    def saw(self, size: tuple[int, int, bool], moment: Fraction) -> None:
        """One more frame."""
        if not self.count:
            self._began = time.monotonic()
        self.count += 1
        self.size, self._last = size, moment

    def next_time(self, fps: float) -> Fraction:
        """Of the first frame of a new connection: as much later as it is by the clock."""
        if not self.count:
            return Fraction(0)
        passed = Fraction(time.monotonic() - self._began).limit_denominator(1000)
        return max(passed, self._last + 1 / Fraction(fps).limit_denominator(1001))


def _shown(size: tuple[int, int, bool] | None) -> str:
    assert size is not None
    height, width, turned = size
    return f"{width} x {height}" if turned else f"{height} x {width}"


class _Connection:
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

    def __enter__(self) -> _Connection:
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


class _Belt:
    """Hands frames from one thread to another, a few at a time.

    Attributes:
        dropped: how many frames were left out, as later ones came before anybody took them.
        left: nobody will take more.
    """

    def __init__(self, *, drops: bool) -> None:
        self._drops = drops
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self.dropped = 0
        self.left = False

    def put(self, item: Any) -> None:
        """Waits for room, or makes it."""
        with self._changed:
            if self._drops and isinstance(item, tuple) and len(self._items) >= _AHEAD:
                self._items.popleft()
                self.dropped += 1
            while len(self._items) >= _AHEAD and not self.left and isinstance(item, tuple):
                self._changed.wait(_POLL)
            self._items.append(item)
            self._changed.notify_all()

    def take(self, stopped: threading.Event) -> Any:
        """The next one; the end as soon as it is stopped."""
        with self._changed:
            while not self._items:
                if stopped.is_set():
                    return _END
                self._changed.wait(_POLL)
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def leave(self) -> None:
        """Takes no more."""
        with self._changed:
            self.left = True
            self._items.clear()
            self._changed.notify_all()
