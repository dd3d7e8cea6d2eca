"""Reads and writes frames of video files and folders. Frames are (h, w, 3) uint8 RGB; FFmpeg (PyAV) handles files."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.images import frame_sizes, read_image
from stmask.data.layouts import FRAME_SUFFIXES
from stmask.errors import INTERRUPTED, ConfigError, DataError, Interrupted, OutputError
from stmask.files import atomic_path
from stmask.folders import list_folder
from stmask.inference import film
from stmask.inference.containers import open_container, reason, require_local
from stmask.inference.film import FPS_RANGE, MAX_FPS_DENOMINATOR
from stmask.inference.sound import OpenSound, Sound, find_sound
from stmask.inference.source import FrameRange, TimedFrame

Image = npt.NDArray[np.uint8]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v", ".avi")  # written by VideoWriter; more is read
FOLDER_FPS = 10.0
_log = logging.getLogger(__name__)
_QUALITY = {"crf": "20", "preset": "superfast"}  # looks clean, and takes half the time of "veryfast"
_PIXEL_FORMAT = "yuv420p"  # the one that every player shows
_BT709, _BT601 = 1, 5  # FFmpeg's numbers of the ways from RGB to YUV
_MAX_SIDE = 16384  # of a frame, that the encoder takes
_HD_HEIGHT = 720  # from this height on players expect the first, below it the second
_OURS = ("comment", "written by stmask")  # in the metadata of a video
_SQUARE = Fraction(1)
_TICK = Fraction(1, 90_000)  # seconds, of frames that don't come at a constant rate
_EVEN_ONLY = (".avi",)
_FRAGMENTED = (".mp4", ".mov", ".m4v")
# In parts of two seconds until it is ended, so that a full disk leaves a video.
_READABLE = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "2000000"}
_ALL = FrameRange()


class VideoReader:
    """The frames of a video file, or of a folder of images in natural order ("2.jpg" before "10.jpg").

    A file is read through once when it is opened, for the times of its frames. Iterating decodes one frame at a time
    and may be repeated. All frames have the size of the first. It is a `FrameSource`.

    Attributes:
        path: of the file or folder.
        name: of the file or folder, without the folders above.
        stem: its name without the suffix of a file.
        fps: frames per second, at which the chosen frames take as long as the video does; `FOLDER_FPS` for a folder.
        length: number of chosen frames. A file may say more than can be decoded.
        last_index: number of its last frame, chosen or not.
        pixel_aspect: width to height of a pixel as it is to be shown; 1 for a folder.
        incomplete: None, since what ends too early is refused.
    """

    incomplete = None

    def __init__(self, path: str | os.PathLike[str], wanted: FrameRange = _ALL) -> None:
        """Opens the file or folder, so that errors show before any work is done. A single image is a folder of one.

        Args:
            path: of the file or folder.
            wanted: which frames of it.

        Raises:
            DataError: nothing there, an address, a folder without images or with images of several sizes, a file
                without a video that FFmpeg can read, or one that was cut off; or none of its frames is chosen.
            ConfigError: the range names times, and images have none.
        """
        self.path = Path(path)
        self.fps: float
        self.length: int
        self.pixel_aspect = _SQUARE
        self._wanted = wanted
        self._stopped = threading.Event()
        self._files: tuple[Path, ...] | None = None
        self._film: film.Film | None = None
        folder = stat.S_ISDIR(require_local(self.path).st_mode)
        self.name = self.path.name or self.path.absolute().resolve().name or str(self.path)
        self.stem = self.name if folder else self.path.stem
        if folder:
            self._files = _frame_files(self.path)
        elif _is_image(self.path):
            self._files = (self.path,)
        if self._files is not None:
            if wanted.by_time:
                raise ConfigError(f"{self.path}: images have no times; count frames, as in start=30f end=90f")
            read_image(self._files[0])
            _require_one_shape(self._files)
            rate, times = FOLDER_FPS, np.arange(len(self._files)) / FOLDER_FPS
        else:
            self._film = film.describe(self.path)
            self.pixel_aspect = self._film.pixel_aspect
            rate, times = self._film.fps, self._film.times
        self.fps = max(rate / wanted.stride, FPS_RANGE[0])
        self.length = wanted.count(times)
        self.last_index = max(len(times) - 1, 0)
        if not self.length:
            last = f", the last at {times[-1]:.3g} s" if self._film is not None and len(times) else ""
            raise DataError(f"{self.path} has {len(times)} frames{last}: none of them is chosen by {wanted}")

    @property
    def even(self) -> bool:
        """Whether the frames come at the rate `fps`; else each has a time of its own."""
        return self._film is None or self._film.even

    @property
    def sound(self) -> Sound | None:
        """The sound of a file; None if it has none."""
        return None if self._film is None else find_sound(self.path, self._film.start)

    def __iter__(self) -> Iterator[Image]:
        """The images of `frames()`."""
        return (frame.image for frame in self.frames())

    def stop(self) -> None:
        """From another thread or a signal: the frames end before the next one."""
        self._stopped.set()

    def frames(self) -> Iterator[TimedFrame]:
        """Decodes the chosen frames.

        Raises:
            DataError: a frame that is broken or differs in size from the first; the message says which.
            Interrupted: stopped before the first frame.
        """
        decoded = self._images() if self._film is None else film.decode(self.path, self._film, self._wanted)
        shape: tuple[int, ...] | None = None
        if self._stopped.is_set():
            raise Interrupted(INTERRUPTED)
        for frame in decoded:
            shape = shape or frame.image.shape
            if frame.image.shape != shape:
                where = f"frame {frame.index} of {self.path}" if self._files is None else self._files[frame.index]
                raise DataError(f"{where} is {_hxw(frame.image.shape)}, the frames before are {_hxw(shape)}")
            if self._stopped.is_set():
                return
            yield frame
        if shape is None:
            raise DataError(f"{self.path} holds no frames")

    def _images(self) -> Iterator[TimedFrame]:
        picker = self._wanted.picker()
        for index, path in enumerate(self._files or ()):
            if picker.takes(index, index / FOLDER_FPS):
                yield TimedFrame(read_image(path), index, Fraction(index) / Fraction(FOLDER_FPS))


def _hxw(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _require_one_shape(files: Sequence[Path]) -> None:
    """Raises DataError for the first image that is of another size; nothing is decoded."""
    first: tuple[int, int] | None = None
    for path in files:
        upright = frame_sizes(path)[-1]
        first = first or upright
        if upright != first:
            raise DataError(f"{path} is {_hxw(upright)}, the frames before are {_hxw(first)}")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in FRAME_SUFFIXES


def _frame_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder, in order; hidden files are not looked at."""
    entries = list_folder(folder)
    others = [path for path in entries if path.is_file() and not _is_image(path)]
    files = [path for path in entries if path.is_file() and _is_image(path)]
    if not files:
        raise DataError(f"no frames in {folder}, {_instead(entries)}")
    stems = Counter(path.stem for path in files)
    stem, count = stems.most_common(1)[0]
    if count > 1:
        same = sorted(path.name for path in files if path.stem == stem)
        raise DataError(f"{folder} holds {' and '.join(same)}: which are the frames? Leave one kind there")
    if others:
        _log.info("%s: files that are not images are left out: %d (%s, ..)", folder, len(others), others[0].name)
    return tuple(files)


def _instead(entries: list[Path]) -> str:
    """What a folder without frames holds instead."""
    if videos := [path.name for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]:
        return f"but videos: give one at a time, as {videos[0]}"
    for inner in (path for path in entries if path.is_dir()):
        if any(map(_is_image, list_folder(inner))):
            return f"but in the folder {inner.name} in it: give that one"
    return f"expected images ({', '.join(FRAME_SUFFIXES)})"


class VideoWriter:
    """Writes an H.264 video; use it in a `with` block. The file appears under its name only when the block succeeds.

    Frames with an odd height or width, which the format cannot hold, get one more row or column. The file's metadata
    say that it is ours, see `is_ours`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float,
        size: tuple[int, int],
        pixel_aspect: Fraction = _SQUARE,
    ) -> None:
        """
        Args:
            path: ends in one of `VIDEO_SUFFIXES`.
            fps: frames per second, within `FPS_RANGE`.
            size: (height, width) of the frames.
            pixel_aspect: width to height of a pixel, for players.

        Raises:
            OutputError: the suffix is not one of a video, or the frames are too large for one.
        """
        _require_encodable(path, fps=fps, size=size)
        self.path, self.fps, self.size, self.pixel_aspect = Path(path), fps, size, pixel_aspect
        self._files: ExitStack | None = None

    def __enter__(self) -> VideoWriter:
        """Opens a temporary file beside the path.

        Raises:
            OutputError: it cannot be written.
        """
        with ExitStack() as files:
            temporary = files.enter_context(atomic_path(self.path))
            self._encoder = VideoEncoder(
                temporary, fps=self.fps, size=self.size, pixel_aspect=self.pixel_aspect, shown=self.path
            )
            self._files = files.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        """Finishes the file, or removes it after an error."""
        files, self._files = self._files, None
        assert files is not None
        if kind is None:
            with files:
                self._encoder.close()
            return
        with suppress(OutputError):
            self._encoder.close()
        files.__exit__(kind, *error)

    def write(self, frame: Image) -> None:
        """Appends a frame.

        Raises:
            ValueError: the frame has another size than the video, or the writer is not open.
            OutputError: the frame cannot be encoded or written.
        """
        if self._files is None:
            raise ValueError("a VideoWriter writes inside a `with` block")
        self._encoder.write(frame)


class VideoEncoder:
    """An H.264 video in a file that is being written; what there is of it can be read at any time."""

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        size: tuple[int, int],
        pixel_aspect: Fraction = _SQUARE,
        even: bool = True,
        sound: OpenSound | None = None,
        shown: Path | None = None,
    ) -> None:
        """
        Args:
            path, fps, size, pixel_aspect: as of `VideoWriter`.
            even: frames come at the rate `fps`; else at the times that `write` is given.
            sound: goes along.
            shown: the name of the file in errors, if not `path`.

        Raises:
            OutputError: it cannot be written, or not in this size.
        """
        import av

        _require_encodable(path, fps=fps, size=size)
        self._path, self._size, self._sound = shown or path, size, sound
        self._rate = Fraction(fps).limit_denominator(MAX_FPS_DENOMINATOR)
        self._even = even or path.suffix.lower() in _EVEN_ONLY
        if not even and self._even:
            _log.warning("%s: %s files have a constant rate, so the times of frames are lost", shown, path.suffix)
        self._count, self._ends = 0, Fraction(0)
        height, width = size
        try:
            whole = _READABLE if path.suffix.lower() in _FRAGMENTED else {}
            # FFmpeg would tell of a full disk only at the end
            self._file = path.open("wb", buffering=0)
            self._container = av.open(self._file, "w", options=whole)
            self._container.metadata[_OURS[0]] = _OURS[1]
            stream = self._container.add_stream("libx264", rate=self._rate, options=_QUALITY)
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt = _PIXEL_FORMAT
            stream.codec_context.sample_aspect_ratio = pixel_aspect
            stream.codec_context.colorspace = _BT709 if height >= _HD_HEIGHT else _BT601
            if not self._even:
                stream.codec_context.time_base = _TICK
            self._stream = stream
            if sound is not None:
                sound.join(self._container)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def write(self, frame: Image, time: Fraction | None = None) -> None:
        """Appends a frame, shown at `time` seconds since the first.

        Raises:
            ValueError: the frame has another size than the video.
            OutputError: the frame cannot be encoded or written.
        """
        import av

        height, width = self._size
        if frame.shape != (height, width, 3):
            raise ValueError(f"the video takes frames of shape {(height, width, 3)}, got {frame.shape}")
        if height % 2 or width % 2:
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE).astype(np.uint8)
        picture = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")
        at = self._count / self._rate
        try:
            planes = picture.reformat(format=_PIXEL_FORMAT, dst_colorspace=self._stream.codec_context.colorspace)
            if not self._even and time is not None:
                at = max(time, self._ends - 1 / self._rate + _TICK if self._count else Fraction(0))
                planes.pts, planes.time_base = round(at / _TICK), _TICK
            if self._sound is not None:
                self._sound.until(at)
            self._container.mux(self._stream.encode(planes))
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._count += 1
        self._ends = at + 1 / self._rate

    def close(self) -> None:
        """Ends the file.

        Raises:
            OutputError: it cannot be written.
        """
        import av

        try:
            if self._sound is not None:
                self._sound.until(self._ends)
                self._sound.close()
            with self._file, self._container:
                self._container.mux(self._stream.encode(None))
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        return OutputError(f"cannot write {self._path}: {reason(error)}")


def _require_encodable(path: str | os.PathLike[str], *, fps: float, size: tuple[int, int]) -> None:
    require_video_suffix(path)
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1] or min(size) < 1:
        raise ValueError(f"fps must be {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, size positive, got {fps} and {size}")
    if max(size) > _MAX_SIDE:
        raise OutputError(f"cannot write {path}: {_hxw(size)} is more than the {_MAX_SIDE} pixels of H.264")


def require_video_suffix(path: str | os.PathLike[str]) -> None:
    """Raises OutputError unless `path` is a name that VideoWriter can write."""
    if Path(path).suffix.lower() not in VIDEO_SUFFIXES:
        raise OutputError(f"cannot write {path}: a video's name ends in {', '.join(VIDEO_SUFFIXES)}")


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video that VideoWriter wrote."""
    try:
        with open_container(Path(path)) as container:
            return _OURS in {(key.lower(), value) for key, value in container.metadata.items()}
    except DataError:
        return False
