"""Pairs mask images with frames: masks/<video>/<frame>.png and frames/<video>/<frame>.jpg."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stmask.data.convert.tracks import Notes
from stmask.data.layouts import FRAME_SUFFIXES
from stmask.errors import DataError
from stmask.folders import list_folder, natural_key

_SUFFIX = ".png"
_DEPTH = 3  # how many levels deeper to look for masks, to suggest the right folder


@dataclass(frozen=True, slots=True)
class MaskedVideo:
    """A video: mask images and their frames in order, and the frames' names in the annotations."""

    name: str
    masks: list[Path]
    frames: list[Path]
    file_names: list[str]


def normal(name: str) -> str:
    """A name in a form that can be compared: macOS stores letters and accents separately."""
    return unicodedata.normalize("NFC", name)


def find_videos(frames: Path, masks: Path, *, beside: Collection[str], notes: Notes) -> list[MaskedVideo]:
    """The folders in `masks` that hold mask images, with their frames.

    Args:
        beside: names of files in `masks` that are expected and not counted as left out.

    Raises:
        DataError: there are none, or a mask or frame is ambiguous.
    """
    if not masks.is_dir():
        raise DataError(f"no videos in {masks}: there is no such folder")
    folders, files = _divide(masks)
    with_masks = [folder for folder in folders if _mask_files(folder)]
    if not with_masks:
        raise DataError(_why_none(frames, masks, folders, files))
    for file in files:
        if file.name not in beside:
            notes.add("files beside the folders of mask images, left out", str(file))
    for folder in folders:
        if folder not in with_masks:
            deeper = _deeper(folder)
            kind = "folders without mask images, left out" + (" (there are some in folders inside)" if deeper else "")
            notes.add(kind, str(deeper or folder))
    known = _by_normal_name(_divide(frames)[0])
    videos = [_match(known.pop(normal(folder.name), frames / folder.name), folder, notes) for folder in with_masks]
    for name in known:
        notes.add("folders of frames without masks, left out", name)
    return videos


def _match(frames: Path, masks: Path, notes: Notes) -> MaskedVideo:
    """The masks of one video and their frames."""
    name = frames.name
    files, (folders, others) = _mask_files(masks), _divide(masks)
    by_name = _by_normal_name(files, stems=True)
    available = _by_normal_name([file for file in _divide(frames)[1] if _is_frame(file)], stems=True)
    for folder in folders:
        notes.add("folders inside those of mask images, left out", str(folder))
    for file in others:
        if file not in files:
            notes.add("files that are not PNG images, left out", str(file))
    matched = [stem for stem in by_name if stem in available]
    missing = [stem for stem in by_name if stem not in available]
    if not matched:
        example = next(iter(available.values()), None)
        said = f"there are frames such as {example.name}" if example else f"there are no frames in {frames}"
        films = [file for file in _divide(frames.parent)[1] if file.stem == name and not _is_frame(file)]
        if films:
            said = f"but {films[0]}: extract its frames first (ffmpeg -i {films[0].name} {name}/%05d.jpg)"
        raise DataError(f"no frame {frames / by_name[missing[0]].stem}.jpg for the mask of that name, {said}")
    for stem in missing:
        notes.add("masks without a frame of their name, left out", str(by_name[stem]))
    spare = [stem for stem in available if stem not in by_name]
    if spare:
        notes.add("frames without a mask, left out", str(available[spare[0]]), count=len(spare))
    for one, other in itertools.pairwise(matched):
        if natural_key(one) == natural_key(other):
            notes.add("masks with the same number, in the order of their names", f"{one} and {other} of {name}")
    found = [available[stem] for stem in matched]
    file_names = [f"{name}/{frame.name}" for frame in found]
    for file_name in file_names:
        if not file_name.isprintable() and any(0xD800 <= ord(letter) < 0xE000 for letter in file_name):
            raise DataError(f"the name of {file_name!r} is not valid UTF-8 and cannot be written to JSON; rename it")
    return MaskedVideo(name, [by_name[stem] for stem in matched], found, file_names)


def _divide(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder; empty if there is no such folder."""
    entries = list_folder(folder) if folder.is_dir() else []
    return [path for path in entries if path.is_dir()], [path for path in entries if not path.is_dir()]


def _mask_files(folder: Path) -> list[Path]:
    return [file for file in _divide(folder)[1] if file.suffix.lower() == _SUFFIX]


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in FRAME_SUFFIXES


def _by_normal_name(paths: list[Path], *, stems: bool = False) -> dict[str, Path]:
    """Paths by name, with or without suffix, in the given order.

    Raises:
        DataError: two have the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(normal(path.stem if stems else path.name), path)
        if other is not path:
            raise DataError(f"{other} and {path.name} have the same name: which one is it?")
    return found


def _deeper(folder: Path, depth: int = _DEPTH) -> Path | None:
    """The first folder inside a folder that holds mask images."""
    for inner in _divide(folder)[0]:
        if _mask_files(inner):
            return inner
        if depth and (found := _deeper(inner, depth - 1)):
            return found
    return None


def _why_none(frames: Path, masks: Path, folders: list[Path], files: list[Path]) -> str:
    """The error for a folder that is not a folder of masks, and which one to give instead."""
    wanted = f"expected {masks}/<video>/<frame>.png"
    loose = [file for file in files if file.suffix.lower() == _SUFFIX]
    if loose and "\\" in loose[0].name:
        return f"no videos in {masks}: {loose[0].name!r} has a Windows separator in its name; unpack its archive again"
    if loose:
        return f"no videos in {masks}, the masks are directly in it: {wanted}; give the folder above as MASKS"
    deeper = _deeper(masks)
    if deeper is None:
        other = next((file for folder in folders for file in _divide(folder)[1]), None)
        return f"no videos in {masks}: {wanted}" + (f", found {other}" if other else "")
    above, video = deeper.parent, deeper.relative_to(masks).parts[0]
    if (frames / deeper.relative_to(masks)).is_dir():
        beside = frames / above.relative_to(masks)
        return f"no videos in {masks}: its mask images are in the folders of {above}; give {beside} and {above}"
    if not (frames / video).is_dir() or (frames / deeper.name).is_dir():
        return f"no videos in {masks}: no mask images directly in its folders, but in those of {above}; give {above}"
    inner = [folder.name for folder in _divide(masks / video)[0]]
    if all(name.isdecimal() for name in inner):
        why = f"{masks / video} has a folder per object ({', '.join(inner[:3])}), as SA-V's validation sets have"
        return f"no videos in {masks}: {why}; {wanted} with pixel value k for object k"
    return f"no videos in {masks}: no mask images directly in {masks / video}, but in {deeper}: move them one folder up"
