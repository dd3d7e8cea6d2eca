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
from typing import Any

import numpy as np

from stmask.errors import INTERRUPTED, DataError, Interrupted
from stmask.inference.connection import Connection
from stmask.inference.film import FPS_RANGE, Clock, quarter_turned, upright
from stmask.inference.places import Place
from stmask.inference.source import FrameRange, TimedFrame

_log = logging.getLogger(__name__)
_AHEAD = 3  # frames that wait for the network
_POLL = 0.2  # seconds after which a wait looks whether it is stopped
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
        self._opened: Connection | None = self._connect()
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

    def _read(self, belt: _Belt, connection: Connection | None) -> None:
        try:
            self._read_all(belt, connection or self._connect())
        except BaseException as error:  # raised where the frames are taken
            belt.put(error)
        belt.put(_END)

    def _read_all(self, belt: _Belt, connection: Connection) -> None:
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

    def _read_one(self, belt: _Belt, connection: Connection, state: _Progress) -> str | None:
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

    def _connect(self) -> Connection:
        return Connection(self._place, self._patience.seconds)


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
