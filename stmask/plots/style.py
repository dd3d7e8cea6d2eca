"""What the pictures share: colours that stay apart for colour-blind eyes, and grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, YELLOW, INK = "#aa3377", "#56b4e9", "#f0e442", "#282828"
_WIDTH = 11.0  # inches, of a whole picture
_TITLE = 0.3  # inches


def image_grid(
    rows: int,
    columns: int,
    *,
    aspect: float,
    width: float = _WIDTH,
    title: float = _TITLE,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, Any]:
    """A figure and its rows x columns axes, without ticks, for images.

    Args:
        rows, columns: of the grid.
        aspect: height : width of the images in the first column.
        width: of the whole, in inches.
        title: room for words above and below each image, in inches.
        ratios: widths of the columns, relative to the first; None: equal.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    ratios = ratios or [1.0] * columns
    figure = Figure(figsize=(width, rows * (width / sum(ratios) * aspect + title)), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": ratios})
    for axis in axes.flat:
        bare(axis)
    return figure, axes


def bare(axis: Axes) -> None:
    """Takes away ticks and frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def row_label(axis: Axes, text: str) -> None:
    """Names a row of a grid at its first image."""
    axis.set_ylabel(text, fontsize=10, color=INK)


def title(axis: Axes, text: str) -> None:
    """Names an image."""
    axis.set_title(text, fontsize=10, color=INK)


def show(axis: Axes, image: Image) -> None:
    """An image whose pixel (x, y) covers [x, x + 1) x [y, y + 1), as boxes and points count."""
    height, width = image.shape[:2]
    axis.imshow(image, extent=(0, width, height, 0), interpolation="antialiased")


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """An RGB colour of 0 to 255 as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def caption(axis: Axes, box: npt.ArrayLike, text: str, colour: str, *, corner: int = 0) -> None:
    """A small plate with a text at a corner of a box (xyxy), outside it unless that is outside the image.

    `corner` counts up so that the captions of boxes that nearly coincide are at different corners.
    """
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    right, bottom = ((False, False), (True, True), (True, False), (False, True))[corner % 4]
    height = max(axis.get_ylim())
    y, room = (y2, height - y2) if bottom else (y1, y1)
    hangs = bottom == (room > 0.1 * height)  # below the line that it is at
    axis.text(
        x2 if right else x1,
        y,
        text,
        fontsize=7,
        color=_ink_on(colour),
        bbox={"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"},
        ha="right" if right else "left",
        va="top" if hangs else "bottom",
        clip_on=True,
    )


def _ink_on(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def outline(axis: Axes, box: npt.ArrayLike, colour: str, **style: Any) -> None:
    """A box, xyxy in the axis's units."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    style = {"linewidth": 2.0, "fill": False, "zorder": 2.5, **style}
    axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, edgecolor=colour, **style))


def chart(width: float = 7.0, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure and its one axis, with only the two lines that are read."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    plain(axis)
    return figure, axis


def plain(axis: Axes) -> None:
    """Takes away the upper and right line."""
    axis.spines[["top", "right"]].set_visible(False)
