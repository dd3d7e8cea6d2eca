"""Submissions to an evaluation server: a zip whose only member is results.json at its root."""

from __future__ import annotations

import codecs
import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stmask.errors import DataError, OutputError
from stmask.evaluation.ground_truth import Category, GroundTruth, Video
from stmask.evaluation.results import Predictions, check_results
from stmask.files import atomic_path, not_json, parse_json, read_json, require_distinct, require_utf8
from stmask.formats.entries import MAX_SIDE
from stmask.formats.fields import LARGEST_INTEGER, whole_number

MEMBER = "results.json"
_MOST_BYTES = 2 << 30  # of results; a zip of a few kilobytes can unpack to any size


@dataclass(frozen=True, slots=True)
class SubmissionSummary:
    """The content of a valid submission."""

    tracks: int
    masks: int
    videos: int
    videos_without_tracks: int | None
    categories: int
    compared: bool

    def text(self) -> str:
        """A readable summary of a few lines."""
        lines = [f"{self.tracks} tracks with {self.masks} masks in {self.videos} videos, {self.categories} categories"]
        if self.videos_without_tracks:
            lines.append(f"{self.videos_without_tracks} videos of the dataset have no track")
        if not self.compared:
            lines.append("only checked against itself: --ground-truth FILE also checks ids, lengths and sizes")
        return "\n".join(lines)


def write_submission(
    results: str | os.PathLike[str], output: str | os.PathLike[str], ground_truth: GroundTruth | None = None
) -> SubmissionSummary:
    """Checks a results.json and packs it; `ground_truth`, which needs no annotations, makes the check complete.

    Raises:
        DataError: an entry is wrong; nothing is written then.
        OutputError: `output` is the file of the results, or another file that is not a submission.
    """
    require_distinct(output, results)
    if os.path.lexists(output) and not _is_submission(output):
        raise OutputError(f"{output} exists already and is not a submission: give another name with --output")
    entries = read_json(results)
    summary = _check(entries, ground_truth, source=os.fspath(results))
    packed = json.dumps(entries, separators=(",", ":"))
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, packed)
    return summary


def _is_submission(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip of the one member that submissions have."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist() == [MEMBER]
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return False


def check_submission(path: str | os.PathLike[str], ground_truth: GroundTruth | None = None) -> SubmissionSummary:
    """Checks a zip as a server would read it.

    Raises:
        DataError: it is not a zip, has another member than results.json at its root, or an entry is wrong.
    """
    return _check(_read_member(path), ground_truth, source=f"{MEMBER} in {path}")


def _read_member(path: str | os.PathLike[str]) -> Any:
    """The results in a zip."""
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if members != [MEMBER]:
                found = ", ".join(map(ascii, members[:3])) + (", ..." if len(members) > 3 else "") or "nothing"
                raise DataError(f"{path} must hold {MEMBER} at its root and nothing else, it holds {found}")
            if (size := archive.getinfo(MEMBER).file_size) > _MOST_BYTES:
                gigabytes = f"{size / 2**30:.1f} GiB unpacked, more than {_MOST_BYTES / 2**30:.0f}"
                raise DataError(f"{MEMBER} in {path} has {gigabytes}: no server takes that")
            content = archive.read(MEMBER)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    # RuntimeError: encrypted, or an unusual compression; the others: damaged in the middle
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is not a valid zip file: {error}") from error
    require_utf8(content[:4], f"{MEMBER} in {path}")
    try:
        return parse_json(str(content.removeprefix(codecs.BOM_UTF8), "utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{MEMBER} in {path} {not_json(error)}") from error


def _check(entries: Any, ground_truth: GroundTruth | None, *, source: str) -> SubmissionSummary:
    dataset = ground_truth or _assumed(entries)
    predictions: Predictions = check_results(entries, dataset, source=source)
    videos = len(set(predictions.video_ids.tolist()))
    return SubmissionSummary(
        tracks=len(predictions),
        masks=sum(len(track.frames()) for track in predictions.segmentations),
        videos=videos,
        videos_without_tracks=None if ground_truth is None else len(dataset.videos) - videos,
        categories=len(set(predictions.category_ids.tolist())),
        compared=ground_truth is not None,
    )


def _assumed(entries: Any) -> GroundTruth:
    """A dataset derived from the first track and mask of each video, to check results against themselves."""
    lengths: dict[int, int] = {}
    sizes: dict[int, list[int]] = {}
    categories: dict[int, Category] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("segmentations"), list):
            continue  # reported by the check
        video_id, category_id = (_identity(entry.get(key)) for key in ("video_id", "category_id"))
        if category_id is not None:
            categories[category_id] = Category(category_id, str(category_id))
        if video_id is not None:
            lengths.setdefault(video_id, len(entry["segmentations"]))
            for mask in entry["segmentations"]:
                if isinstance(mask, Mapping) and _is_size(mask.get("size")):
                    sizes.setdefault(video_id, mask["size"])
    videos = {}
    for video_id, length in lengths.items():
        height, width = map(int, sizes.get(video_id, [1, 1]))
        videos[video_id] = Video(video_id, width, height, length)
    return GroundTruth(videos, tuple(categories.values()), None, "the results")


def _identity(value: Any) -> int | None:
    number = whole_number(value)
    return number if number is not None and 0 <= number <= LARGEST_INTEGER else None


def _is_size(size: Any) -> bool:
    sides = list(map(whole_number, size)) if isinstance(size, list) else []
    return len(sides) == 2 and all(side is not None and 1 <= side <= MAX_SIDE for side in sides)
