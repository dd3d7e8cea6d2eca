"""Small video files for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

HEIGHT, WIDTH = 32, 48


def picture(size: tuple[int, int] = (HEIGHT, WIDTH), *, brightness: int = 60) -> np.ndarray:
    """Plain, with the top left quarter red."""
    image = np.full((*size, 3), brightness, dtype=np.uint8)
    image[: size[0] // 2, : size[1] // 2] = 230, 20, 20
    return image


def encode(
    path: Path,
    frames: int = 8,
    *,
    rate: Fraction | int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    milliseconds: Sequence[int] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """A film of one picture; with `milliseconds` frame k comes at the k-th of them."""
    with av.open(str(path), "w", format=format, container_options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        if milliseconds is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        prepare(stream)
        for k in range(frames if milliseconds is None else len(milliseconds)):
            frame = av.VideoFrame.from_ndarray(picture(size), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[k], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(path: Path, frames: int = 30, *, size: tuple[int, int] = (HEIGHT, WIDTH), rate: int = 10) -> Path:
    """A film whose frames take room in the file; what is needed to begin with comes first in it."""
    rng = np.random.default_rng(0)
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
