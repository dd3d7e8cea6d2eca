"""Frames of a dataset with what is annotated and what was predicted, as pictures and films inside a page."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask import viz
from stmask.data import VideoClip, VideoDataset
from stmask.data.layouts import find_frames
from stmask.errors import DataError, StmaskError
from stmask.inference.pictures import display_size, mask_at, resized
from stmask.inference.video import VideoWriter
from stmask.report.scoring import ErrorExample, Scored

Image = npt.NDArray[np.uint8]

FPS = 6.0  # of films: that of YouTube-VIS's annotated frames
MOST_FRAMES = 90  # of a film
_GAP = 6  # pixels between annotated and predicted
_GREY = 128
_JPEG_QUALITY = 85
_FAINT = 0.25
_OTHERS = 32  # colours of predictions that were meant for nothing begin here
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture or film as it stands in a page.

    Attributes:
        address: data: and the content in base64.
        width, height: in pixels.
    """

    address: str
    width: int
    height: int

    def __len__(self) -> int:
        """Letters that it adds to the page."""
        return len(self.address)


@dataclass
class Room:
    """How much more the page may grow by pictures.

    Attributes:
        left: letters.
        refused: pictures and films that did not fit.
        unreadable: why some frames could not be read.
    """

    left: int
    refused: int = 0
    unreadable: list[str] = field(default_factory=list)

    def take(self, make: Callable[[], Picture]) -> Picture | None:
        """The picture, if its frames can be read and it fits."""
        if self.left <= 0:
            self.refused += 1
            return None
        try:
            picture = make()
        except StmaskError as error:
            self.unreadable.append(str(error))
            return None
        if len(picture) > self.left:
            self.refused += 1
            return None
        self.left -= len(picture)
        return picture


@dataclass(frozen=True, slots=True)
class _Shape:
    """A track to draw: its masks, colour, label and score."""

    masks: Sequence[Any]
    colour: int
    label: int
    score: float | None = None


class Footage:
    """The videos of a dataset: their names, and, where the frames are there, pictures of them.

    Attributes:
        missing: why there are no frames; None where they are.
    """

    def __init__(self, dataset: VideoDataset, *, missing: str | None) -> None:
        self._dataset = dataset
        self.missing = missing
        self._place = {dataset.video_id(index): index for index in range(len(dataset))}

    def name(self, video_id: int) -> str:
        """The folder of a video's frames; its number where there is none."""
        names = self._dataset.video(self._place[video_id]).file_names
        folder = Path(names[0]).parent.name if names else ""
        return folder or f"video {video_id}"

    def example(self, scored: Scored, example: ErrorExample) -> Picture:
        """The frames of an error, one above the other: what is annotated there, and beside it what was predicted.

        Raises:
            DataError: a frame can't be read.
        """
        rows = []
        tracks = self._annotated(scored, example.video_id)
        for frame in example.frames:
            picture = self._frame(example.video_id, frame)
            size = picture.shape[:2]
            left = right = self._drawn(picture, tracks, frame, faint=True)
            if example.truth is not None:
                left = self._drawn(left, [self._truth(scored, example.truth)], frame)
            right = picture
            if example.prediction is not None:
                right = self._drawn(picture, [self._prediction(scored, example.prediction)], frame)
            gap = np.full((size[0], _GAP, 3), _GREY, dtype=np.uint8)
            rows.append(np.concatenate([left, gap, right], axis=1))
            rows.append(np.full((_GAP, rows[-1].shape[1], 3), _GREY, dtype=np.uint8))
        return _jpeg(np.concatenate(rows[:-1]))

    def film(self, scored: Scored, video_id: int) -> Picture:
        """A video as `side_by_side` draws it.

        Raises:
            DataError: a frame can't be read.
            OutputError: it can't be written.
        """
        frames = self.side_by_side(scored, video_id)
        first = next(frames)
        height, width = first.shape[:2]
        with TemporaryDirectory(prefix="stmask-report-") as folder:
            path = Path(folder) / "film.mp4"
            with VideoWriter(path, fps=FPS, size=(height, width)) as writer:
                for frame in chain([first], frames):
                    writer.write(frame)
            content = path.read_bytes()
        return Picture(_address("video/mp4", content), width, height)

    def side_by_side(self, scored: Scored, video_id: int) -> Iterator[Image]:
        """The frames of a video with its annotations and beside it with the predictions from `min_score` on.

        A long video is cut.

        Raises:
            DataError: a frame can't be read.
        """
        rows = np.flatnonzero(scored.predictions.video_ids == video_id)
        rows = rows[scored.predictions.scores[rows] >= scored.min_score]
        best_first = rows[np.argsort(-scored.predictions.scores[rows], kind="stable")].tolist()
        annotated, predicted = self._annotated(scored, video_id), [self._prediction(scored, row) for row in best_first]
        clip = VideoClip(self._dataset, self._place[video_id])
        size = display_size(clip.size)
        gap = np.full((size[0], _GAP, 3), _GREY, dtype=np.uint8)
        for t, frame in zip(range(min(len(clip), MOST_FRAMES)), clip):
            picture = resized(frame, size)
            left, right = (self._drawn(picture, tracks, t) for tracks in (annotated, predicted))
            yield np.concatenate([left, gap, right], axis=1)

    def _frame(self, video_id: int, position: int) -> Image:
        place = self._place[video_id]
        return resized(self._dataset.read_frame(place, position), display_size(self._dataset.video(place).size))

    def _drawn(self, picture: Image, tracks: Sequence[_Shape], t: int, *, faint: bool = False) -> Image:
        size = (picture.shape[0], picture.shape[1])
        there = [track for track in tracks if t < len(track.masks) and track.masks[t] is not None]
        known = [track for track in there if track.score is not None]
        return viz.draw(
            picture,
            [mask_at(track.masks[t], size) for track in there],
            track_ids=[track.colour for track in there],
            labels=[track.label for track in there],
            scores=[track.score for track in known] if known and len(known) == len(there) else None,  # type: ignore[misc]
            class_names=self._dataset.class_names,
            captions=not faint,
            opacity=_FAINT if faint else 0.5,
        )

    def _annotated(self, scored: Scored, video_id: int) -> list[_Shape]:
        tracks = enumerate(scored.truth.labelled_tracks)
        return [self._truth(scored, g) for g, track in tracks if track.video_id == video_id and not track.is_crowd]

    def _truth(self, scored: Scored, index: int) -> _Shape:
        track = scored.truth.labelled_tracks[index]
        return _Shape(track.segmentations, _number(scored, index), self._label(track.category_id))

    def _prediction(self, scored: Scored, row: int) -> _Shape:
        predictions, meant = scored.predictions, scored.meant(row)
        colour = _number(scored, meant) if meant >= 0 else _OTHERS + int(scored.overlaps.entries[row]) % _OTHERS
        label = self._label(int(predictions.category_ids[row]))
        return _Shape(predictions.segmentations[row], colour, label, float(predictions.scores[row]))

    def _label(self, category_id: int) -> int:
        return self._dataset.category_ids.index(category_id) + 1


def _number(scored: Scored, index: int) -> int:
    """An annotation's place among those of its video, from 1: its colour, and that of predictions meant for it."""
    tracks = scored.truth.labelled_tracks
    before = (track.video_id == tracks[index].video_id for track in tracks[:index])
    return 1 + sum(before)


def open_footage(annotations: Path, frames: Path | None, *, how: str) -> Footage | None:
    """The videos of an annotation file, with their frames from a folder, or from where datasets usually have them.

    Args:
        how: what to give where there are no frames, for the reason.

    Raises:
        DataError: a folder that was given has none of the frames.
    """
    try:
        dataset = VideoDataset(annotations, frames or annotations.parent)
    except DataError as error:  # it can be scored against, and more is asked of what is trained on
        _log.warning("no pictures: %s", error)
        return None
    names = dataset.some_file_names()
    if frames is not None:
        if not any((frames / name).is_file() for name in names):
            raise DataError(f"{frames} has none of the frames of {annotations}, such as {names[0] if names else '-'}")
        return Footage(dataset, missing=None)
    for root in (annotations.parent, annotations.parent.parent):
        try:
            dataset.frames_path = find_frames(root, annotations.stem, names)
        except DataError:
            continue
        return Footage(dataset, missing=None)
    return Footage(dataset, missing=f"The frames of {annotations} were not found beside it: {how}.")


def _jpeg(image: Image) -> Picture:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return Picture(_address("image/jpeg", encoded.tobytes()), image.shape[1], image.shape[0])


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
