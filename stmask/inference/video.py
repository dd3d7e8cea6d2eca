"""Frames out of and into video files and folders. Frames are (h, w, 3) uint8 RGB; files go through FFmpeg (PyAV)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.images import read_image
from stmask.data.layouts import FRAME_SUFFIXES
from stmask.errors import DataError, OutputError
from stmask.files import atomic_path
from stmask.folders import natural_key

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v", ".avi")  # written by VideoWriter; anything is read
FOLDER_FPS = 10.0
_STRICT = {"err_detect": "explode"}  # else the decoder guesses damaged frames or leaves them out, silently
_FALLBACK_FPS = 25.0  # for a file that does not say
_MAX_FPS_DENOMINATOR = 1001
_QUALITY = {"crf": "20", "preset": "superfast"}  # looks clean, and costs half the time of "veryfast"
_PIXEL_FORMAT = "yuv420p"  # the one that every player shows
_BT709, _BT601 = 1, 5  # FFmpeg's numbers of the ways from RGB to YUV
_HD_HEIGHT = 720  # from here on players expect the first, below it the second


class VideoReader:
    """The frames of a video file, or of a folder of images in natural order ("2.jpg" before "10.jpg").

    Iterating decodes one frame at a time and may be repeated. All frames have the size of the first.

    Attributes:
        path: of the file or folder.
        fps: frames per second; `FOLDER_FPS` for a folder.
        length: number of frames; None when the file does not say. A file may say more than can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file or folder, so that errors show before any work is done.

        Raises:
            DataError: nothing there, a folder without images, or a file without a video that FFmpeg can read.
        """
        self.path = Path(path)
        self.fps: float
        self.length: int | None
        self._files: tuple[Path, ...] | None = None
        if self.path.is_dir():
            self._files = _frame_files(self.path)
            self.fps, self.length = FOLDER_FPS, len(self._files)
        else:
            self.fps, self.length = _describe(self.path)

    def __iter__(self) -> Iterator[Image]:
        """Decodes the frames.

        Raises:
            DataError: a frame that is broken or differs in size from the first; the message says which.
        """
        frames = _decode(self.path) if self._files is None else map(read_image, self._files)
        shape: tuple[int, ...] | None = None
        for i, frame in enumerate(frames):
            shape = shape or frame.shape
            if frame.shape != shape:
                where = f"frame {i} of {self.path}" if self._files is None else str(self._files[i])
                raise DataError(f"{where} is {_hxw(frame.shape)}, the frames before are {_hxw(shape)}")
            yield frame
        if shape is None:
            raise DataError(f"{self.path} holds no frames")


def _hxw(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _frame_files(folder: Path) -> tuple[Path, ...]:
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and path.is_file()]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    if not files:
        raise DataError(f"no frames in {folder}, expected images ({', '.join(FRAME_SUFFIXES)})")
    return tuple(sorted(files, key=lambda path: natural_key(path.name)))


def _open_video(path: Path) -> tuple[Any, VideoStream]:
    import av

    if not path.exists():
        raise DataError(f"no such video or folder of frames: {path}")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"cannot read {path} as a video: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # threads over frames would lose the errors of the last frames
    stream.codec_context.options = _STRICT
    return container, stream


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


def _describe(path: Path) -> tuple[float, int | None]:
    container, stream = _open_video(path)
    with container:
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        return float(rate) if rate else _FALLBACK_FPS, stream.frames or None


def _decode(path: Path) -> Iterator[Image]:
    import av

    container, stream = _open_video(path)
    with container:
        count = 0
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _broken(path, count, "it is damaged")
                yield _upright(frame)
                count += 1
        except av.error.FFmpegError as error:
            raise _broken(path, count, _reason(error)) from error


def _broken(path: Path, frame: int, reason: str) -> DataError:
    repaired = path.with_stem(f"{path.stem}_repaired").name
    return DataError(
        f"cannot decode {path} near frame {frame}: {reason}; to go on without what is damaged, "
        f"repair it first: ffmpeg -i {path.name} {repaired}"
    )


def _upright(frame: VideoFrame) -> Image:
    """As RGB, turned the way up that the file asks for (videos of phones are often stored lying)."""
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns), dtype=np.uint8)


class VideoWriter:
    """Writes an H.264 video; use it in a `with` block. The file appears under its name only when the block succeeds.

    Frames with an odd height or width, which the format cannot hold, get one more row or column.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float, size: tuple[int, int]) -> None:
        """
        Args:
            path: ends in one of `VIDEO_SUFFIXES`.
            fps: frames per second.
            size: (height, width) of the frames.

        Raises:
            OutputError: the suffix is not one of a video.
        """
        require_video_suffix(path)
        if fps <= 0 or min(size) < 1:
            raise ValueError(f"fps and size must be positive, got {fps} and {size}")
        self.path = Path(path)
        self.fps = fps
        self.size = size
        self._session: AbstractContextManager[tuple[OutputContainer, VideoStream]] | None = None

    def __enter__(self) -> VideoWriter:
        """Opens a temporary file beside the path.

        Raises:
            OutputError: it cannot be written.
        """
        self._session = _encoding(self.path, fps=self.fps, size=self.size)
        self._container, self._stream = self._session.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Finishes the file, or removes it after an error."""
        session, self._session = self._session, None
        assert session is not None
        session.__exit__(*error)

    def write(self, frame: Image) -> None:
        """Appends a frame.

        Raises:
            ValueError: the frame has another size than the video, or the writer is not open.
            OutputError: the frame cannot be encoded or written.
        """
        import av

        if self._session is None:
            raise ValueError("a VideoWriter writes inside a `with` block")
        height, width = self.size
        if frame.shape != (height, width, 3):
            raise ValueError(f"the video takes frames of shape {(height, width, 3)}, got {frame.shape}")
        even = np.asarray(cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
        picture = av.VideoFrame.from_ndarray(even, format="rgb24")
        try:
            planes = picture.reformat(format=_PIXEL_FORMAT, dst_colorspace=self._stream.codec_context.colorspace)
            self._container.mux(self._stream.encode(planes))
        except av.error.FFmpegError as error:
            raise OutputError(f"cannot write {self.path}: {_reason(error)}") from error


@contextmanager
def _encoding(path: Path, *, fps: float, size: tuple[int, int]) -> Iterator[tuple[OutputContainer, VideoStream]]:
    import av

    height, width = size
    try:
        with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
            rate = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR)
            stream = container.add_stream("libx264", rate=rate, options=_QUALITY)
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt = _PIXEL_FORMAT
            stream.codec_context.colorspace = _BT709 if height >= _HD_HEIGHT else _BT601
            yield container, stream
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error


def require_video_suffix(path: str | os.PathLike[str]) -> None:
    """Raises OutputError unless `path` is a name that VideoWriter can write."""
    if Path(path).suffix.lower() not in VIDEO_SUFFIXES:
        raise OutputError(f"cannot write {path}: a video's name ends in {', '.join(VIDEO_SUFFIXES)}")
