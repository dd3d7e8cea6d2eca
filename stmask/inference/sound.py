"""The sound of a video file, copied packet by packet into another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.errors import DataError
from stmask.inference.containers import open_container

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet

_log = logging.getLogger(__name__)
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Sound:
    """Where the sound of a film is.

    Attributes:
        path: of the file.
        origin: the time of the film's first frame on the file's own clock, in seconds.
    """

    path: Path
    origin: Fraction

    def opened(self, start: Fraction) -> OpenSound:
        """The sound from `start` on, in seconds since the film's first frame."""
        return OpenSound(self, start)


class OpenSound:
    """Copies the audio streams of a file, as the video that they accompany goes on."""

    def __init__(self, sound: Sound, start: Fraction) -> None:
        self._name = sound.path.name
        self._begin = sound.origin + start
        self._source = open_container(sound.path)
        self._streams: dict[int, Any] = {}  # of the copy, by their index in the source
        self._next: Packet[Any] | None = None
        self._packets: Iterator[Packet[Any]] = iter(())
        self._container: OutputContainer | None = None

    def join(self, container: OutputContainer) -> None:
        """Adds the streams to a file that is not begun yet; those that it cannot hold are left out, with a warning."""
        self._container = container
        for stream in self._source.streams.audio:
            try:
                self._streams[stream.index] = container.add_stream_from_template(stream)
            except ValueError:
                codec = stream.codec_context.name if stream.codec_context else "unknown"
                _log.warning(
                    "%s: its sound (%s) cannot be put into a file of kind %s and is left out; .mkv takes it",
                    *(self._name, codec, container.format.name),
                )
        if not self._streams:
            return
        chosen = [stream for stream in self._source.streams.audio if stream.index in self._streams]
        if self._begin > 1:
            self._source.seek(int((self._begin - 1) * _MICROSECONDS), backward=True)
        self._packets = self._source.demux(*chosen)
        self._next = next(self._packets, None)

    def until(self, time: Fraction) -> None:
        """Copies what begins before `time`, in seconds since the copy's beginning."""
        import av

        while (packet := self._next) is not None:
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is not None and packet.size:
                at = ticks * packet.time_base - self._begin
                if at >= time:
                    return
                if at >= 0:
                    self._copy(packet)
            try:
                self._next = next(self._packets, None)
            except av.error.FFmpegError as error:
                _log.warning("%s: its sound is damaged at %.1f s and ends there", self._name, float(time))
                _log.debug("%s", error)
                self._next = None

    def _copy(self, packet: Packet[Any]) -> None:
        assert self._container is not None
        shift = round(self._begin / packet.time_base)
        stream = self._streams[packet.stream_index]
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = stream
        self._container.mux(packet)

    def close(self) -> None:
        """Closes the source."""
        self._source.close()


def find_sound(path: Path, origin: Fraction) -> Sound | None:
    """The sound of a file; None if it has none."""
    try:
        with open_container(path) as container:
            return Sound(path, origin) if container.streams.audio else None
    except DataError:
        return None
