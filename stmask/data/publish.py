"""Publishes a generated annotation file only after `data check` has found nothing wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

from stmask.data.check import NOTHING_TO_LEARN, check_split
from stmask.data.convert.tracks import Document
from stmask.data.report import Report
from stmask.errors import DataError, OutputError
from stmask.files import atomic_path


def require_free(out: Path, inputs: list[Path], *, overwrite: bool | None = None) -> None:
    """Raises OutputError if writing `out` would destroy something, or put it among the inputs.

    Args:
        overwrite: whether an existing file may be replaced; None if there is no such option.
    """
    for source in inputs:
        if out.exists() and source.exists() and out.samefile(source):
            raise OutputError(f"{out} is the input; choose another output")
        if source.is_dir() and source.resolve() in out.resolve().parents:
            raise OutputError(f"{out} is inside the input {source}; choose a place outside")
    if out.is_dir():
        if any(out.iterdir()):
            raise OutputError(f"{out} is a folder that is not empty; choose a new one")
    elif out.exists() and not overwrite:
        hint = "" if overwrite is None else " or add --overwrite"
        raise OutputError(f"{out} exists already; choose another name{hint}")


def publish(out: Path, document: Document, *, frames: Path | None = None, source: Path | None = None) -> list[str]:
    """Writes an annotation file if `data check` finds nothing wrong with it; returns what is in it, line by line.

    Args:
        frames: the folder of its frames, where it is known; they are looked for then.
        source: the annotation file that was converted, whose entries are named for mistakes that it has too.

    Raises:
        DataError: something is wrong with it, or it is empty. No file is left then.
    """
    with atomic_path(out) as temporary:
        with temporary.open("w") as file:
            json.dump(document, file)
            file.write("\n")
        report = _check(temporary, frames)
        if fatal := _fatal(report):
            earlier = _fatal(_check(source, None)) if source is not None else []
            more = f" ({len(earlier or fatal)} kinds of errors)" if len(earlier or fatal) > 1 else ""
            said = earlier[0] if earlier else fatal[0].replace(str(temporary), str(out))
            raise DataError(f"{said}{more}; nothing was written")
        if not report.videos or (report.labelled and not report.tracks):
            raise DataError(f"{source or out}: there is no {'annotation' if report.videos else 'frame'} in it")
        if report.labelled and report.masks and not report.annotated_frames:
            said = f"all {report.masks} masks are crowd regions ('iscrowd': 1), there would be nothing to learn"
            raise DataError(f"{source or out}: {said}; nothing was written")
    things = f"{report.videos} videos, {report.frame_count} frames, {report.tracks} tracks"
    if "images" in document:
        things = f"{len(document['videos'])} videos, {report.videos} images, {report.tracks} annotations"
    masks = f"{report.masks} masks" if report.labelled else "unlabelled (there are no annotations)"
    warnings = [
        f"warning: {p.kind}: {p.count}, first: {p.first.replace(str(temporary), str(out))}"
        for p in report.problems.values()
    ]
    return [f"{things}, {masks}", *warnings]


def _check(annotations: Path, frames: Path | None) -> Report:
    look = frames is not None
    return check_split(annotations, root=annotations.parent, split="train", frames=frames, look_for_frames=look)


def _fatal(report: Report) -> list[str]:
    """The first of each kind of error; boxes without any mask are only worth a warning."""
    return [p.first for p in report.problems.values() if p.fatal and p.kind != NOTHING_TO_LEARN]
