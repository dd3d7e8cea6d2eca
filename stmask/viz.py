"""Drawing instances on frames, and contact sheets. Frames are (H, W, 3) uint8 RGB."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from stmask import captions as captions_
from stmask.errors import OutputError
from stmask.files import atomic_path
from stmask.lettering import class_label, legible, text_mask

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_WHITE, _BLACK = (255, 255, 255), (18, 18, 18)
_PALETTE_SIZE = 64
_PAPER, _INK = (250, 250, 250), (40, 40, 40)


@lru_cache(maxsize=1)
def _palette() -> tuple[Colour, ...]:
    """Vivid colours, each the farthest (in CIELAB) from all before it, so the first few differ most."""
    steps = np.linspace(0, 1, 13, dtype=np.float32)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lightness > 45) & (lightness < 88) & (chroma > 40) & (chroma < 95)
    rgb, lab = rgb[vivid], lab[vivid]
    chosen = [int(np.linalg.norm(rgb - np.array([1.0, 0.25, 0.25]), axis=1).argmin())]
    nearest = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < _PALETTE_SIZE:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return tuple((int(r), int(g), int(b)) for r, g, b in np.rint(rgb[chosen] * 255))


def track_colour(track_id: int) -> Colour:
    """The colour of a track: always the same for an id, and well apart from those of the ids near it."""
    return _palette()[track_id % _PALETTE_SIZE]


def draw(
    frame: Image,
    masks: Iterable[npt.ArrayLike],
    *,
    track_ids: Sequence[int],
    corners: Sequence[tuple[int, int]] | None = None,
    boxes: Sequence[Sequence[int]] | None = None,
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    class_names: Sequence[str] = (),
    supplemented: Sequence[bool] | None = None,
    captions: bool = True,
    opacity: float = 0.5,
) -> Image:
    """A copy of `frame` with N instances drawn on it (N = 0 is normal); where they overlap, the first is on top.

    Args:
        frame: (H, W, 3) uint8 RGB.
        masks: N of (H, W) bool.
        track_ids: of each instance; they set the colours.
        corners: row and column where each mask begins, if they are parts of the frame; None: they are whole.
        boxes: xyxy in whole pixels, or None for no boxes.
        labels: 1..K; label k is written as `class_names[k - 1]`, or as its number when there is no such name or none
            that can be drawn.
        scores: written after the name.
        class_names: see `labels`.
        supplemented: instances carried over without a detection; they get a dashed box and a hollow label.
        captions: write the track ids, with labels and scores if given; none covers another.
        opacity: of the masks.

    Raises:
        ValueError: lengths or sizes that do not fit together.
    """
    shapes = [np.asarray(mask, dtype=np.bool_) for mask in masks]
    n, size = len(track_ids), frame.shape[:2]
    if corners is None:
        if [shape.shape for shape in shapes] != [size] * n:
            raise ValueError(f"masks must be {n} of shape {size}, got {[shape.shape for shape in shapes]}")
        corners = [(0, 0)] * n
    if not len(shapes) == len(corners) == n:
        raise ValueError(f"{n} instances need as many masks and corners, got {len(shapes)} and {len(corners)}")
    for name, values in (("boxes", boxes), ("labels", labels), ("scores", scores), ("supplemented", supplemented)):
        if values is not None and len(values) != n:
            raise ValueError(f"{name} must have {n} entries, got {len(values)}")

    colours = [track_colour(int(track_id)) for track_id in track_ids]
    thickness = max(1, round(min(size) / 360))
    cut = [_cut(shape, corner) for shape, corner in zip(shapes, corners, strict=True)]
    image = _blend(frame, cut, colours, opacity=opacity, thickness=thickness)
    back_to_front = range(n - 1, -1, -1)
    if boxes is not None:
        for i in back_to_front:
            dashed = supplemented is not None and bool(supplemented[i])
            _draw_box(image, [int(v) for v in boxes[i]], colours[i], thickness=thickness, dashed=dashed)
    if captions:
        texts = [
            _caption(
                int(track_ids[i]),
                None if labels is None else int(labels[i]),
                None if scores is None else float(scores[i]),
                class_names,
            )
            for i in range(n)
        ]
        hollow = [supplemented is not None and bool(supplemented[i]) for i in range(n)]
        places = [_extent(boxes[i] if boxes is not None else None, cut[i]) for i in range(n)]
        _draw_labels(
            image, texts, places, colours, hollow=hollow, order=np.argsort(np.asarray(track_ids), kind="stable")
        )
    return image


@dataclass(frozen=True, slots=True)
class _Cut:
    """What of a mask is in the smallest window that holds it, and where that begins."""

    top: int
    left: int
    part: npt.NDArray[np.uint8]

    @property
    def window(self) -> tuple[slice, slice]:
        rows, columns = self.part.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)


def _cut(mask: npt.NDArray[np.bool_], corner: tuple[int, int]) -> _Cut | None:
    """None when the mask is empty."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8)) if mask.size else (0, 0, 0, 0)
    part = np.ascontiguousarray(mask[y : y + h, x : x + w]).view(np.uint8)
    return _Cut(corner[0] + y, corner[1] + x, part) if w and h else None


def _blend(
    frame: Image, masks: Sequence[_Cut | None], colours: Sequence[Colour], *, opacity: float, thickness: int
) -> Image:
    """All masks in one blended pass, then their outlines."""
    drawn = [(cut, colour) for cut, colour in zip(masks[::-1], colours[::-1], strict=True) if cut is not None]
    paint = frame.copy()
    for cut, colour in drawn:
        fill = cv2.merge([np.full(cut.part.shape, level, dtype=np.uint8) for level in colour])
        cv2.copyTo(fill, cut.part, paint[cut.window])
    image = cv2.addWeighted(paint, opacity, frame, 1 - opacity, 0)
    for cut, colour in drawn:
        contours, _ = cv2.findContours(cut.part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, contours, -1, colour, thickness, cv2.LINE_AA, offset=(cut.left, cut.top))
    return np.asarray(image, dtype=np.uint8)


def _dashes(
    start: tuple[int, int], end: tuple[int, int], dash: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The drawn parts of a horizontal or vertical line; gaps are as long as the dashes."""
    (x1, y1), (x2, y2) = start, end
    for offset in range(0, max(x2 - x1, y2 - y1, 1), 2 * dash):
        first = (min(x1 + offset, x2), min(y1 + offset, y2))
        yield first, (min(first[0] + dash, x2), min(first[1] + dash, y2))


def _draw_box(image: Image, box: Sequence[int], colour: Colour, *, thickness: int, dashed: bool) -> None:
    x1, y1 = box[0], box[1]
    x2, y2 = max(x1, min(box[2], image.shape[1]) - 1), max(y1, min(box[3], image.shape[0]) - 1)
    if not dashed:
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness)
        return
    dash = 4 * thickness
    for start, end in (((x1, y1), (x2, y1)), ((x1, y2), (x2, y2)), ((x1, y1), (x1, y2)), ((x2, y1), (x2, y2))):
        for a, b in _dashes(start, end, dash):
            cv2.line(image, a, b, colour, thickness)


def _extent(box: Sequence[int] | None, cut: _Cut | None) -> captions_.Box | None:
    """The box, or else that of the mask; None when there is neither."""
    if box is not None:
        return int(box[0]), int(box[1]), int(box[2]), int(box[3])
    return None if cut is None else (cut.left, cut.top, cut.left + cut.part.shape[1], cut.top + cut.part.shape[0])


def _caption(track_id: int, label: int | None, score: float | None, class_names: Sequence[str]) -> str:
    parts = [f"#{track_id}"]
    if label is not None:
        parts.append(class_label(label, class_names))
    if score is not None:
        parts.append(f"{100 * score:.0f}%")
    return " ".join(parts)


def _text_height(height: int, width: int) -> int:
    """Of text in pixels: it grows with the frame, and is legible on small ones."""
    return round(float(np.clip(min(height, width) / 30, 10, 60)))


def _write(image: Image, text: str, at: tuple[int, int], *, height: int, ink: Colour) -> None:
    """Paints text with its top left corner at (x, y); what is outside the image is cut off."""
    mask = text_mask(text, height)[: max(0, image.shape[0] - at[1]), : max(0, image.shape[1] - at[0])]
    part = image[at[1] : at[1] + mask.shape[0], at[0] : at[0] + mask.shape[1]]
    share = mask[..., None] / np.float32(255)
    part[:] = np.rint(part * (1 - share) + np.array(ink, np.float32) * share).astype(np.uint8)


def _draw_labels(
    image: Image,
    texts: Sequence[str],
    objects: Sequence[captions_.Box | None],
    colours: Sequence[Colour],
    *,
    hollow: Sequence[bool],
    order: Iterable[int],
) -> None:
    """Plates with texts at their objects, none over another; in `order` they choose their places."""
    size = image.shape[0], image.shape[1]
    em = _text_height(*size)
    pad = max(2, round(em / 5))
    turns = [int(i) for i in order]
    shapes = [text_mask(texts[i], em).shape for i in turns]
    plates = [(h + pad // 2, min(w + 2 * pad, size[1])) for h, w in shapes]
    places = captions_.place([objects[i] for i in turns], plates, size)
    for i, at, plate in zip(turns, places, plates, strict=True):
        box = objects[i]
        if at is None or box is None:
            continue
        near = (min(max(box[0], at[0]), at[0] + plate[1]), min(max(box[1], at[1]), at[1] + plate[0]))
        if max(abs(near[0] - box[0]), abs(near[1] - box[1])) > 2 * plate[0] and _apart(at, plate, box):
            cv2.line(image, near, (box[0], box[1]), colours[i], 1, cv2.LINE_AA)
    for i, at, plate in zip(turns, places, plates, strict=True):
        if at is not None:
            _draw_plate(image, texts[i], at, plate, colours[i], hollow=hollow[i], em=em, pad=pad)


def _apart(at: tuple[int, int], plate: captions_.Size, box: captions_.Box) -> bool:
    """Whether a plate neither touches nor covers the box of its object."""
    return at[0] > box[2] or at[1] > box[3] or at[0] + plate[1] < box[0] or at[1] + plate[0] < box[1]


def _draw_plate(
    image: Image,
    text: str,
    at: tuple[int, int],
    plate: captions_.Size,
    colour: Colour,
    *,
    hollow: bool,
    em: int,
    pad: int,
) -> None:
    (x, y), (height, width) = at, plate
    ground = _BLACK if hollow else colour
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), ground, cv2.FILLED)
    if hollow:
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), colour, 1)
    luminance = float(np.dot(ground, (0.299, 0.587, 0.114)))
    ink = _BLACK if luminance > 140 else _WHITE
    _write(image, text, (x + pad, y + pad // 4), height=em, ink=ink)


def sheet(frames: Sequence[Image], *, columns: int, titles: Sequence[str] | None = None, gap: int = 8) -> Image:
    """A contact sheet: frames of any sizes, row by row in equal cells on light paper, each under its title.

    Raises:
        ValueError: no frames, no columns, or not one title per frame.
    """
    if not frames or columns < 1:
        raise ValueError(f"a sheet needs frames and columns, got {len(frames)} frames and {columns} columns")
    if titles is not None and len(titles) != len(frames):
        raise ValueError(f"{len(frames)} frames need as many titles, got {len(titles)}")
    cell_h, cell_w = max(f.shape[0] for f in frames), max(f.shape[1] for f in frames)
    em = _text_height(cell_h, cell_w)
    title_h = 0 if titles is None else round(1.2 * em) + gap // 2
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    paper = np.empty((rows * (cell_h + title_h + gap) + gap, columns * (cell_w + gap) + gap, 3), dtype=np.uint8)
    paper[:] = _PAPER
    for i, frame in enumerate(frames):
        h, w = frame.shape[:2]
        top = gap + (i // columns) * (cell_h + title_h + gap)
        left = gap + (i % columns) * (cell_w + gap)
        if titles is not None:
            _write(paper, legible(titles[i], f"{i + 1}", most=200), (left, top), height=em, ink=_INK)
        paper[top + title_h : top + title_h + h, left : left + w] = frame
    return paper


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Writes a picture, whole or not at all; the suffix determines its format.

    Raises:
        OutputError: it can't be written.
    """
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OutputError(f"cannot write the picture {path}")
