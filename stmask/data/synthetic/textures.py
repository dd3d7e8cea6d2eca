"""Procedural textures, the same families for backgrounds and objects, so that no texture tells a class."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.synthetic.shapes import FloatArray

Field = FloatArray  # (h, w) in [0, 1]
Colour = FloatArray  # (3,) RGB in [0, 1]
_GRAIN = 0.06


def _grid(height: int, width: int, angle: float) -> tuple[FloatArray, FloatArray]:
    """Coordinates along and across a direction, in units of the short side."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / min(height, width)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def _stretch(field: FloatArray) -> Field:
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), dtype=np.float32)


def _clip(field: npt.NDArray[Any]) -> Field:
    return np.asarray(np.clip(field, 0, 1), dtype=np.float32)


def noise(rng: np.random.Generator, height: int, width: int) -> Field:
    """Value noise of several scales."""
    coarse = int(rng.integers(2, 5))
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(5):
        cells = coarse * 2**octave
        knots = rng.random((cells + 1, -(-cells * width // height) + 1), dtype=np.float32)
        total += cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return _stretch(total)


def stripes(rng: np.random.Generator, height: int, width: int) -> Field:
    """Stripes in any direction, straight or wavy, soft or hard."""
    along, _ = _grid(height, width, rng.uniform(0, np.pi))
    bend = rng.uniform(0, 0.15) * noise(rng, height, width)
    wave = np.sin(2 * np.pi * rng.uniform(3, 9) * (along + bend) + rng.uniform(0, 2 * np.pi))
    return _clip(0.5 + rng.uniform(0.5, 3) * wave)


def checks(rng: np.random.Generator, height: int, width: int) -> Field:
    """A rotated chequerboard with soft edges."""
    along, across = _grid(height, width, rng.uniform(0, np.pi / 2))
    frequency = 2 * np.pi * rng.uniform(1.5, 5)
    phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin(frequency * along + phase[0]) * np.sin(frequency * across + phase[1])
    return _clip(0.5 + 3 * wave)


def dots(rng: np.random.Generator, height: int, width: int) -> Field:
    """A rotated lattice of round spots."""
    along, across = _grid(height, width, rng.uniform(0, np.pi / 2))
    frequency = 2 * np.pi * rng.uniform(3, 7)
    wave = np.cos(frequency * along) + np.cos(frequency * across)
    return _clip(rng.uniform(0, 1.5) + 2 * (wave - 0.8))


def gradient(rng: np.random.Generator, height: int, width: int) -> Field:
    """A linear or radial ramp."""
    along, across = _grid(height, width, rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.5:
        return _stretch(along)
    u, v = along - along.mean() - rng.uniform(-0.3, 0.3), across - across.mean() - rng.uniform(-0.3, 0.3)
    return _stretch(np.hypot(u, v).astype(np.float32))


FAMILIES: dict[str, Callable[[np.random.Generator, int, int], Field]] = {
    "noise": noise,
    "stripes": stripes,
    "checks": checks,
    "dots": dots,
    "gradient": gradient,
}


def random_colour(rng: np.random.Generator, *, saturation: tuple[float, float]) -> Colour:
    """Any hue, not too dark."""
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(0.25, 1.0))
    return np.array(rgb, dtype=np.float32)


def distant_colour(rng: np.random.Generator, other: Colour, distance: float, *, tries: int = 24) -> Colour:
    """A colour at least `distance` (RGB, in [0, 1]) from `other`, or the farthest of `tries`."""
    candidates = [random_colour(rng, saturation=(0.3, 1.0)) for _ in range(tries)]
    gaps = [float(np.linalg.norm(candidate - other)) for candidate in candidates]
    far_enough = (i for i, gap in enumerate(gaps) if gap >= distance)
    return candidates[next(far_enough, int(np.argmax(gaps)))]


def paint(
    rng: np.random.Generator, height: int, width: int, *, colour: Colour, contrast: float
) -> npt.NDArray[np.uint8]:
    """An RGB texture (height, width, 3) of a random family whose mean colour is about `colour`.

    The family sets where the two tones lie, a second field of noise lights it unevenly, and a little grain covers it.
    """
    family = list(FAMILIES.values())[rng.integers(len(FAMILIES))]
    tone = random_colour(rng, saturation=(0.0, 1.0)) - colour
    pattern = family(rng, height, width) - 0.5
    light = noise(rng, height, width) - 0.5
    grain = rng.standard_normal((height, width), dtype=np.float32) * np.float32(_GRAIN * contrast)
    brightness = np.float32(0.5 * contrast) * light + grain + np.float32(0.3 * contrast) * pattern
    image = colour + np.float32(contrast) * pattern[..., None] * tone + brightness[..., None]
    return np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)
