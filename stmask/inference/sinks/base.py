"""What is written of each frame, and how a file comes to its place: whole, or marked as partial."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stmask.errors import OutputError
from stmask.files import atomic_path
from stmask.structures import RLE, CroppedMasks, TrackedFrame
from stmask.tasks.results import encode_masks

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WrittenInstance:
    """One instance of one frame, in plain values.

    Attributes:
        track_id: as the tracker counts, from 0.
        label: 1..K.
        category_id: its number in files.
        class_name: the model's, or the label as text where it knows no names.
        score: of this frame, in [0, 1].
        supplemented: the tracker carried it over without a detection.
        box_px: x1, y1, x2, y2 in pixels of the video: the smallest box that holds the mask.
        rle: its mask at the video's own size.
    """

    track_id: int
    label: int
    category_id: int
    class_name: str
    score: float
    supplemented: bool
    box_px: tuple[int, int, int, int]
    rle: RLE


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame and what is shown and written of it.

    Attributes:
        index: of the frame among those that were read, from 0.
        time: seconds since the beginning of the source.
        image: (h, w, 3) uint8 RGB.
        tracked: the N selected instances of which a pixel is seen.
        masks: of those, at the size of the image, each cut to its box (`TrackedFrame.shown_at`).
        class_names: of labels 1..K, may be empty.
        category_ids: of labels 1..K; empty: the labels themselves.
    """

    index: int
    time: Fraction
    image: Image
    tracked: TrackedFrame
    masks: CroppedMasks
    class_names: Sequence[str] = ()
    category_ids: Sequence[int] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def rles(self) -> list[RLE]:
        """The masks, run-length encoded, in the order of `tracked`."""
        return encode_masks(self.masks)

    @cached_property
    def instances(self) -> list[WrittenInstance]:
        """The instances by track id."""
        rows = zip(
            self.tracked.track_ids.tolist(),
            self.tracked.instances.labels.tolist(),
            self.tracked.instances.scores.tolist(),
            self.tracked.supplemented.tolist(),
            self.masks.boxes().tolist(),
            self.rles,
            strict=True,
        )
        found = [
            WrittenInstance(
                track_id, label, self.category_of(label), self.name_of(label), score, supplemented, tuple(box), rle
            )
            for track_id, label, score, supplemented, box, rle in rows
        ]
        return sorted(found, key=lambda instance: instance.track_id)

    def name_of(self, label: int) -> str:
        """The name of a class."""
        return self.class_names[label - 1] if label <= len(self.class_names) else str(label)

    def category_of(self, label: int) -> int:
        """The number of a class in files."""
        return self.category_ids[label - 1] if self.category_ids else label


class Sink(Protocol):
    """Writes one format: made with a temporary path, given every frame of a video, then closed."""

    def write(self, frame: SegmentedFrame) -> None:
        """Takes the next frame.

        Raises:
            OSError, OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Makes a whole of what was written so far, with which it can be read."""
        ...


@contextmanager
def placed(path: Path, make: Callable[[Path], Sink], *, folder: bool, kept: list[Path]) -> Iterator[Sink]:
    """A sink on a temporary path, which comes to its place when the block ends.

    If something cannot be written, what there is until then stays beside it, as "name.partial.suffix". After any other
    error nothing stays.

    Args:
        path: where it is to be in the end.
        make: the sink, given the temporary path.
        folder: it is a folder, which may replace an older one.
        kept: gets the places of what stayed.

    Raises:
        OutputError: it cannot be written.
    """
    with _temporary(path, folder=folder) as temporary:
        try:
            sink = make(temporary)
            try:
                yield sink
            except BaseException as error:
                with suppress(OSError, OutputError):
                    sink.close()
                if isinstance(error, (OutputError, OSError)):
                    _keep(temporary, path, kept)
                raise
            try:
                sink.close()
            except (OSError, OutputError):
                _keep(temporary, path, kept)
                raise
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        except OutputError as error:
            raise OutputError(str(error).replace(str(temporary), str(path))) from error


def _keep(temporary: Path, path: Path, kept: list[Path]) -> None:
    """What is there stays under a name that says that it is not whole."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    with suppress(OSError):
        if temporary.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            filled = any(temporary.iterdir())
        else:
            filled = temporary.stat().st_size > 0
        if filled:
            temporary.replace(partial)
            partial.chmod(0o755 if partial.is_dir() else 0o644)
            kept.append(partial)


@contextmanager
def _temporary(path: Path, *, folder: bool) -> Iterator[Path]:
    if not folder:
        with atomic_path(path) as temporary:
            yield temporary
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        with _moved_away(path):
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _moved_away(path: Path) -> Iterator[None]:
    """An older folder is removed when the new one is in its place."""
    if not path.exists():
        yield
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=".old"))
    os.replace(path, old)
    try:
        yield
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
