"""Several videos at once: what is written of each, and how each is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stmask.errors import ConfigError, OutputError
from stmask.inference.places import Place, is_images
from stmask.inference.sinks import FORMATS, check_places, outputs_at, require_formats
from stmask.inference.source import FrameRange, FrameSource
from stmask.inference.video import VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Job:
    """One video and the files that are written of it, by their formats."""

    place: Place
    outputs: Mapping[str, Path]

    def open(self, wanted: FrameRange) -> FrameSource:
        """The video's frames.

        Raises:
            DataError: it is missing, broken, or does not answer.
        """
        if self.place.path is not None:
            from stmask.inference.video import VideoReader

            return VideoReader(self.place.path, wanted)
        from stmask.inference.streams import StreamReader

        return StreamReader(self.place, wanted)


def plan(places: Sequence[Place], output: str, formats: Sequence[str], *, wanted: FrameRange) -> list[Job]:
    """What is written of each video: `output` of one, files under their own names in the folder `output` of several.

    An `output` that is a folder already, or ends in a slash, is a folder for one video too. Nothing is opened.

    Raises:
        ConfigError: several videos and a file for all; times, of folders of images; a format as in `outputs_at`.
        OutputError: two videos with one name; see also `check_places`.
    """
    formats = require_formats(formats)
    if wanted.by_time and (images := [place.name for place in places if is_images(place)]):
        raise ConfigError(f"{images[0]}: images have no times; count frames, as in start=30f end=90f")
    target = Path(output)
    if len(places) == 1 and not (target.is_dir() or output.endswith("/")):
        jobs = [Job(places[0], outputs_at(target, formats))]
    else:
        suffixes = (*VIDEO_SUFFIXES, *(form.suffix for form in FORMATS.values()))
        if not target.is_dir() and target.name.lower().endswith(suffixes):
            raise ConfigError(f"output={output}: {len(places)} videos are written to a folder; give output=FOLDER")
        _require_names(places, target)
        suffix = VIDEO_SUFFIXES[0] if "video" in formats else ""
        jobs = [Job(place, outputs_at(target / f"{place.stem}{suffix}", formats)) for place in places]
    check_places([place.path for place in places if place.path is not None], [job.outputs for job in jobs])
    return jobs


def _require_names(places: Sequence[Place], folder: Path) -> None:
    """Raises OutputError if two videos would be written under one name, also where case does not count."""
    names: dict[str, Place] = {}
    for place in places:
        first = names.setdefault(place.stem.casefold(), place)
        if first is not place:
            raise OutputError(
                f"{first.name} and {place.name} would both be written to {folder / place.stem}: "
                "rename one, or give them to commands of their own with other outputs"
            )
