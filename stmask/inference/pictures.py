"""Pictures of what a network finds in a few videos: a sheet, a film, and frames with their masks for a logger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask import viz
from stmask.data import VideoClip, VideoDataset
from stmask.formats.runs import decode_mask
from stmask.inference.video import VideoWriter
from stmask.lettering import legible

Image = npt.NDArray[np.uint8]
Entry = Mapping[str, Any]  # of a results.json

_COLUMNS = 4  # frames of each clip on the sheet
_FILM_COLUMNS = 2
_WIDTH = 320  # of a clip's frames in pixels, about
_MOST_FRAMES = 60
_FPS = 6.0  # the annotated frames of YouTube-VIS
_DISTINCT_TRACKS = 64  # colours


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """A frame (h, w, 3) RGB and the label of every pixel (h, w), 0 where nothing was found."""

    title: str
    frame: Image
    labels: npt.NDArray[np.int32]


def busiest_videos(dataset: VideoDataset, count: int, *, among: int) -> list[int]:
    """Positions of the `count` videos with the most annotated tracks of the first `among`; of equals, the first."""
    tracks = np.diff(dataset.index.annotation_starts[: among + 1])
    return sorted(np.argsort(-tracks, kind="stable")[:count].tolist())


def draw_clips(
    dataset: VideoDataset,
    videos: Sequence[int],
    results: Sequence[Entry],
    *,
    min_score: float,
    sheet: Path,
    film: Path,
) -> list[LabelledFrame]:
    """Draws the results of some videos: `sheet` has a few frames of each, in `film` they run beside each other.

    Args:
        dataset: whose frames are read.
        videos: positions in it.
        results: the entries of a results.json; those of other videos are left out.
        min_score: entries below it are not drawn.
        sheet: PNG file to write.
        film: MP4 file to write; long videos are cut.

    Returns:
        The middle frame of each video.

    Raises:
        StmaskError: a frame that can't be read, a file that can't be written.
    """
    tracks: dict[int, list[Entry]] = defaultdict(list)
    for entry in results:
        if entry["score"] >= min_score:
            tracks[entry["video_id"]].append(entry)
    clips = [_Clip(dataset, index, tracks[dataset.video_id(index)]) for index in videos]
    with VideoWriter(film, fps=_FPS, size=_film_frame([clip.blank for clip in clips]).shape[:2]) as writer:
        for frames in _in_step(clips):
            writer.write(_film_frame(frames))
    cells = [(clip.kept[t], f"{clip.name}, frame {t}") for clip in clips for t in clip.shown]
    picture = viz.sheet([cell for cell, _ in cells], columns=_COLUMNS, titles=[title for _, title in cells])
    viz.write_image(sheet, picture)
    return [clip.middle for clip in clips]


class _Clip:
    """The drawn frames of one video, made while they are iterated over; the few for the sheet are kept."""

    def __init__(self, dataset: VideoDataset, index: int, tracks: Sequence[Entry]) -> None:
        self._video = VideoClip(dataset, index)
        self._class_names = dataset.class_names
        self._tracks = sorted(tracks, key=lambda entry: -entry["score"])  # the best on top
        self._labels = [dataset.category_ids.index(entry["category_id"]) + 1 for entry in self._tracks]
        self._size = display_size(self._video.size)
        self.name = legible(Path(self._video.file_names[0]).parent.name, f"video {self._video.video_id}")
        length = min(len(self._video), _MOST_FRAMES)
        self.length = length
        self.shown = [round(column * (length - 1) / (_COLUMNS - 1)) for column in range(_COLUMNS)]
        self.kept: dict[int, Image] = {}
        self.middle: LabelledFrame

    @property
    def blank(self) -> Image:
        return np.zeros((*self._size, 3), dtype=np.uint8)

    def __iter__(self) -> Iterator[Image]:
        for t, frame in zip(range(self.length), self._video):
            picture = resized(frame, self._size)
            masks = [mask_at(entry["segmentations"][t], self._size) for entry in self._tracks]
            if t == self.length // 2:
                self.middle = LabelledFrame(f"{self.name}, frame {t}", picture, self._label_map(masks))
            drawn = viz.draw(
                picture,
                np.stack(masks) if masks else np.zeros((0, *self._size), dtype=np.bool_),
                track_ids=[i % _DISTINCT_TRACKS for i in range(len(masks))],
                labels=self._labels,
                scores=[entry["score"] for entry in self._tracks],
                class_names=self._class_names,
            )
            if t in self.shown:
                self.kept[t] = drawn
            yield drawn

    def _label_map(self, masks: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.int32]:
        labels = np.zeros(self._size, dtype=np.int32)
        for mask, label in reversed(list(zip(masks, self._labels, strict=True))):
            labels[mask] = label
        return labels


def _in_step(clips: Sequence[_Clip]) -> Iterator[list[Image]]:
    """The clips' frames of one moment after the other; a clip that has ended keeps its last."""
    iterators = [iter(clip) for clip in clips]
    current = [clip.blank for clip in clips]
    for _ in range(max(clip.length for clip in clips)):
        current = [next(iterator, frame) for iterator, frame in zip(iterators, current, strict=True)]
        yield current


def _film_frame(frames: Sequence[Image]) -> Image:
    return viz.sheet(frames, columns=_FILM_COLUMNS)


def display_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) on the pictures; small videos are enlarged by a whole number."""
    height, width = size
    if width > _WIDTH:
        return max(1, round(height * _WIDTH / width)), _WIDTH
    zoom = _WIDTH // width
    return height * zoom, width * zoom


def resized(frame: Image, size: tuple[int, int]) -> Image:
    """A frame at a size (height, width)."""
    way = cv2.INTER_AREA if frame.shape[1] > size[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=way), dtype=np.uint8)


def mask_at(rle: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A compressed mask at a size (height, width); None is an empty one."""
    if rle is None:
        return np.zeros(size, dtype=np.bool_)
    mask = decode_mask(rle["counts"], *rle["size"])
    return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST) > 0)
