"""The formats of what is written: their names, where their files lie, and how they are opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.data.convert.masks import CLASS_FILE
from stmask.errors import ConfigError, OutputError
from stmask.files import require_writable
from stmask.inference.drawing import DrawStyle
from stmask.inference.sinks import coco, lines, pictures
from stmask.inference.sinks.base import Sink
from stmask.inference.sinks.drawn import Clock, DrawnVideo
from stmask.inference.sinks.tracks import Tracks
from stmask.inference.sound import Sound
from stmask.inference.video import VIDEO_SUFFIXES, is_ours, require_video_suffix
from stmask.signatures import nearest
from stmask.tasks.results import ClassVote

if TYPE_CHECKING:
    from stmask.inference.source import FrameSource

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What sinks know of the video and of how it is written.

    Attributes:
        name: of the video.
        fps, even, pixel_aspect, sound: as of the source, or as they are to be.
        class_names: of labels 1..K, may be empty.
        class_vote: how the frames of a track choose its class.
        style: of the drawing.
        clock: of the stages of the work.
    """

    name: str
    fps: float
    even: bool
    pixel_aspect: Fraction
    sound: Sound | None
    class_names: Sequence[str]
    class_vote: ClassVote
    style: DrawStyle
    clock: Clock

    @staticmethod
    def of(
        source: FrameSource,
        *,
        fps: float | None,
        class_names: Sequence[str],
        class_vote: ClassVote,
        style: DrawStyle,
        clock: Clock,
    ) -> Setting:
        """That of a source; another `fps` than its own makes the rate constant, and the sound would not fit."""
        own = fps is None
        return Setting(
            name=source.stem,
            fps=source.fps if fps is None else fps,
            even=source.even or not own,
            pixel_aspect=source.pixel_aspect,
            sound=source.sound if own else None,
            class_names=class_names,
            class_vote=class_vote,
            style=style,
            clock=clock,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        suffix: of its files, after the name of the output; a video may have others.
        what: it holds, for people.
        open: a sink on a path.
        is_ours: whether something was written by us in this format.
        folder: it is a folder.
    """

    suffix: str
    what: str
    open: Callable[[Path, Setting], Sink]
    is_ours: Callable[[Path], bool]
    folder: bool = False


def _begins(pattern: bytes) -> Callable[[Path], bool]:
    """Whether a file begins like this."""

    def check(path: Path) -> bool:
        with path.open("rb") as file:
            return re.match(pattern, file.read(_HEAD_BYTES)) is not None

    return check


def _holds(name: str, pattern: str) -> Callable[[Path], bool]:
    """Whether a folder is empty, or has a file that begins like this."""
    check = _begins(re.escape(pattern).encode())

    def inside(path: Path) -> bool:
        if not any(path.iterdir()):
            return True
        return (path / name).is_file() and check(path / name)

    return inside


def _drawn(path: Path, setting: Setting) -> Sink:
    return DrawnVideo(
        path,
        fps=setting.fps,
        even=setting.even,
        pixel_aspect=setting.pixel_aspect,
        sound=setting.sound,
        style=setting.style,
        class_names=setting.class_names,
        clock=setting.clock,
    )


_TRACK = rb'\[\]\s*\Z|\[\{"video_id": \d+, "category_id": \d+, ("track_id": \d+, )?"score": [^"]*, "segmentations": \['
_NUMBER = rb"-?[\d.]+"
FORMATS: Mapping[str, Format] = {
    "video": Format(
        suffix=".mp4", what="the video with masks, boxes and names drawn on it", open=_drawn, is_ours=is_ours
    ),
    "json": Format(
        suffix=".json",
        what="tracks as in YouTube-VIS: one entry for each object of the video",
        open=lambda path, setting: Tracks(path, class_vote=setting.class_vote),
        is_ours=_begins(_TRACK),
    ),
    "jsonl": Format(
        suffix=".jsonl",
        what="one JSON object a frame, with its instances",
        open=lambda path, _: lines.Lines(path, lines.json_line),
        is_ours=_begins(rb'\{"frame": \d+, "time": [\d.]+, "height": '),
    ),
    "csv": Format(
        suffix=".csv",
        what="one row for each instance of each frame",
        open=lambda path, _: lines.Lines(path, lines.csv_rows, head=lines.csv_head()),
        is_ours=_begins(re.escape(lines.csv_head()).encode()),
    ),
    "mot": Format(
        suffix=".mot.txt",
        what="boxes as in MOTChallenge",
        open=lambda path, _: lines.Lines(path, lines.mot_lines),
        is_ours=_begins(rb"(\d+,\d+," + rb",".join([_NUMBER] * 5) + rb",-1,-1,-1\n)"),
    ),
    "mots": Format(
        suffix=".mots.txt",
        what="masks as in KITTI MOTS",
        open=lambda path, _: lines.Lines(path, lines.mots_lines),
        is_ours=_begins(rb"\d+ \d+ \d+ \d+ \d+ \S+\n?"),
    ),
    "coco": Format(
        suffix="_coco",
        what="a folder with the frames and a COCO file, for FiftyOne, Label Studio and CVAT",
        open=lambda path, setting: coco.Coco(path, name=setting.name),
        is_ours=_holds(coco.LABELS, coco.HEAD),
        folder=True,
    ),
    "masks": Format(
        suffix="_masks",
        what="a folder of mask images, as in DAVIS and YouTube-VOS",
        open=lambda path, setting: pictures.MaskImages(path, name=setting.name),
        is_ours=_holds(CLASS_FILE, pictures.MASKS_HEAD),
        folder=True,
    ),
    "crops": Format(
        suffix="_crops",
        what="a folder with each object cut out of each frame, on transparent ground",
        open=lambda path, _: pictures.Crops(path),
        is_ours=_holds(pictures.CROPS_FILE, pictures.CROPS_HEAD),
        folder=True,
    ),
}
"""What can be written of a video, by the names that `format` takes."""


def require_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The names of formats, each once.

    Raises:
        ConfigError: none, or one that does not exist; the message names the nearest.
    """
    for name in names:
        if name not in FORMATS:
            near = nearest(str(name).lower(), FORMATS)
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(f"format: there is no {name!r}; {hint}It takes {', '.join(FORMATS)}, several as a list")
    if not names:
        raise ConfigError(f"format: nothing to write; it takes {', '.join(FORMATS)}, several as [video,json]")
    return tuple(dict.fromkeys(names))


def outputs_at(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The place of each format: `output` itself for the one that its suffix names, the others beside it.

    `out.mp4` and the formats video, json and masks give out.mp4, out.json and out_masks.

    Raises:
        ConfigError: a format as in `require_formats`, or a suffix that names one which is not among them.
        OutputError: the output has no name, or there is a video to write and the name is not that of one.
    """
    formats = require_formats(formats)
    if not output.name:
        raise OutputError(f"cannot write {output}: it has no file name")
    if "video" in formats:
        require_video_suffix(output)
    named = next((name for name, suffix in _suffixes() if output.name.lower().endswith(suffix)), None)
    if named is not None and named not in formats:
        listed = ",".join(formats)
        raise ConfigError(
            f"output={output} is named as a file of format={named}, but format is {listed}: give "
            f"format=[{listed},{named}], or another name"
        )
    suffix = next((suffix for _, suffix in _suffixes() if output.name.lower().endswith(suffix)), "")
    stem = output.name[: len(output.name) - len(suffix)]
    if not stem:
        raise OutputError(f"cannot write {output}: it has no name before the suffix")
    places = {name: output.with_name(stem + FORMATS[name].suffix) for name in formats}
    return places if named is None else places | {named: output}


def _suffixes() -> list[tuple[str, str]]:
    """Formats and the suffixes of their files, longer ones first."""
    files = [(name, form.suffix) for name, form in FORMATS.items() if not form.folder and name != "video"]
    return [*files, *(("video", suffix) for suffix in VIDEO_SUFFIXES)]


def check_places(sources: Iterable[Path], outputs: Iterable[Mapping[str, Path]]) -> None:
    """Checks where predictions would be written, before any work: they only replace what earlier predictions wrote.

    Args:
        sources: what is read.
        outputs: of each video the places of its formats.

    Raises:
        OutputError: an output that is not named as a video, one place for two files, one where nothing can be put, a
            link, or one that holds something which no prediction wrote.
    """
    taken = {key for path in sources for key in _identities(path)}
    for places in outputs:
        for name, place in places.items():
            if name == "video":
                require_video_suffix(place)
            if not (FORMATS[name].folder and place.is_dir()):
                require_writable(place)
            elif place.is_symlink():
                raise OutputError(_LINK.format(place))
            if taken & (own := _identities(place)):
                raise OutputError(f"{place} is named twice: sources and outputs must all be different files")
            taken |= own
    for places in outputs:
        for name, place in places.items():
            if place.is_symlink():
                raise OutputError(_LINK.format(place))
            if _is_filled(place) and not _is_ours(place, FORMATS[name]):
                raise OutputError(
                    f"{place} exists already and is not {_NAMES.get(name, f'what format={name} writes')}: give another "
                    "output, or remove it"
                )


_LINK = "{} is a link, which a file would take the place of: give the place that it leads to"
_NAMES = {"video": "a video of stmask's", "json": "a list of predicted tracks"}


def _identities(path: Path) -> set[object]:
    """What tells a file, also if links or a case-insensitive file system give it several names."""
    found: set[object] = set()
    with suppress(OSError, RuntimeError, ValueError):  # missing, or a cycle of links
        found.add(path.resolve())
        status = path.stat()
        found.add((status.st_dev, status.st_ino))
    return found


def _is_filled(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)


def _is_ours(path: Path, form: Format) -> bool:
    if path.is_dir() != form.folder:
        return False
    try:
        return form.is_ours(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
