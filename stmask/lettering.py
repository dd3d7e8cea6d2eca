"""Text in pictures and plots: which letters can be drawn, and text as a mask to paint.

Letters are those of DejaVu Sans, which comes with matplotlib. It has no Chinese, Japanese or Korean signs; OpenCV 5 has
them, earlier ones only have ASCII. A name with letters that cannot be drawn is replaced by one that can.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageFont

Mask = npt.NDArray[np.uint8]

_MOST_LETTERS = 40  # of a name
_EM = 30  # pixels of the letter M's height that OpenCV's font has at scale 1
_TRIED = 16  # pixels, for checking whether there is a letter
_NOWHERE = "\U0010ffff"  # no font has it


def class_label(label: int, class_names: Sequence[str]) -> str:
    """The caption of label 1..K: the class's name, or its number if there is no name that can be drawn."""
    number = f"class {label}"
    return legible(class_names[label - 1], number) if 1 <= label <= len(class_names) else number


def legible(text: str, otherwise: str, *, most: int = _MOST_LETTERS) -> str:
    """The text, cut after `most` letters, or a replacement if it cannot be drawn."""
    text = _cut(text, most)
    return text if text.strip() and (_all_in_font(text) or all(map(_opencv_has, text))) else otherwise


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def for_plot(text: str, otherwise: str) -> str:
    """As `legible`, for matplotlib: without OpenCV's letters, and dollar signs do not start a formula."""
    shown = _cut(text, _MOST_LETTERS)
    return (shown if shown.strip() and _all_in_font(shown) else otherwise).replace("$", r"\$")


@lru_cache(maxsize=512)
def text_mask(text: str, height: int) -> Mask:
    """The ink of each pixel (h, w) of one line of text, 0..255; letters are about `height` pixels high."""
    em = max(9, height)
    font = _font(em)
    ascent, descent = font.getmetrics()
    if _all_in_font(text):
        drawn, (left, top) = font.getmask2(text, anchor="ls")
        size = (drawn.size[1], drawn.size[0])
        ink = np.frombuffer(bytes(drawn), np.uint8).reshape(size) if min(size) else np.zeros((0, 0), np.uint8)
        mask = np.zeros((ascent + descent, max(1, round(font.getlength(text)), left + size[1])), np.uint8)
        x, y = max(0, left), max(0, ascent + top)
        part = ink[: mask.shape[0] - y, : mask.shape[1] - x]
        mask[y : y + part.shape[0], x : x + part.shape[1]] = part
        return mask
    import cv2  # which the standalone metric does without

    scale, weight = em / _EM, max(1, round(em / _EM * 1.6))
    shown = "".join(c if c.isprintable() else "?" for c in text)
    (width, _), _ = cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    mask = np.zeros((ascent + descent, max(1, width)), np.uint8)
    cv2.putText(mask, shown, (0, ascent), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, weight, cv2.LINE_AA)
    return mask


@lru_cache(maxsize=16)
def _font(em: int) -> Any:
    """DejaVu Sans in a given size, found without importing matplotlib, which is slow."""
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), em)
    return ImageFont.load_default(em)


def _all_in_font(text: str) -> bool:
    return all(map(_has_letter, text))


@lru_cache(maxsize=4096)
def _has_letter(letter: str) -> bool:
    """Whether the font has a letter; control characters and halves of surrogate pairs are not letters."""
    return letter.isprintable() and (letter < "\x7f" or _shape(letter) != _shape(_NOWHERE))


@lru_cache(maxsize=4096)
def _shape(letter: str) -> tuple[Any, bytes]:
    drawn = _font(_TRIED).getmask(letter)
    return drawn.size, bytes(drawn)


@lru_cache(maxsize=4096)
def _opencv_has(letter: str) -> bool:
    """Whether OpenCV draws a letter as anything but question marks."""
    if not letter.isprintable() or letter == "?":
        return letter == "?"
    marks = {_opencv_shape("?" * count) for count in {1, len(letter.encode())}}
    return _opencv_shape(letter) not in marks


def _opencv_shape(text: str) -> bytes:
    import cv2

    canvas = np.zeros((2 * _EM, 4 * _EM), np.uint8)
    cv2.putText(canvas, text, (0, _EM), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 1)
    return canvas.tobytes()
