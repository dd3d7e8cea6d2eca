"""Divides a labelled split in two by video, for datasets whose validation annotations are not public."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stmask.data.layouts import same_layout
from stmask.data.publish import publish
from stmask.data.reader import read_index
from stmask.errors import ConfigError, DataError
from stmask.files import read_json

Document = dict[str, Any]
_MAX_DIGITS = 18  # of a number in a ratio


def split_document(document: Document, ratio: tuple[int, int], *, seed: int | None = None) -> tuple[Document, Document]:
    """Two annotation documents, the videos shared out by `ratio`; everything else is in both.

    Args:
        ratio: (9, 1) puts nine tenths into the first, rounded to whole videos; if it adds up to the number of videos,
            it gives the exact counts.
        seed: None takes the first videos of the file (as the authors do), a number shuffles them. Both parts keep the
            file's order.

    Raises:
        DataError: one of the parts would be empty, or without an annotation.
    """
    videos = document["videos"]
    order = list(range(len(videos)))
    if seed is not None:
        random.Random(seed).shuffle(order)
    count = round(len(videos) * ratio[0] / sum(ratio))
    if not 0 < count < len(videos):
        instead = f": --ratio {len(videos) - 1}:1 leaves one for the second" if len(videos) > 1 else ""
        raise DataError(
            f"{len(videos)} videos cannot be divided {ratio[0]}:{ratio[1]}, one part would be empty{instead}"
        )
    first = {videos[i]["id"] for i in order[:count]}
    return _select(document, first, inside=True), _select(document, first, inside=False)


def _select(document: Document, chosen: set[int], *, inside: bool) -> Document:
    videos = [video for video in document["videos"] if (video["id"] in chosen) is inside]
    annotations = [entry for entry in document["annotations"] if (entry["video_id"] in chosen) is inside]
    if not annotations:
        part = "first" if inside else "second"
        raise DataError(f"the {part} part would have no annotation; choose another --seed or --ratio")
    return document | {"videos": videos, "annotations": annotations}


def split_file(
    root: Path,
    split: str,
    annotations: Path,
    *,
    names: tuple[str, str],
    ratio: tuple[int, int],
    seed: int | None = None,
) -> dict[Path, list[str]]:
    """Divides an annotation file and writes the parts beside it, named as its layout wants them.

    Returns:
        The two files, and for each what is in it, line by line. Frames stay where they are: a split without a folder
        of its own uses those of the others.

    Raises:
        DataError: the file is not valid or unlabelled, or a part would be empty. ConfigError: a name is not valid, or a
            part would overwrite a file that is there. Nothing is left then.
    """
    for name in names:
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise ConfigError(f"--names takes two names of splits such as train-sub, got {name!r}")
    if names[0] == names[1]:
        raise ConfigError(f"--names takes two different names, got {names[0]!r} twice")
    paths = (same_layout(root, split, annotations, names[0]), same_layout(root, split, annotations, names[1]))
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists already; choose other --names or remove it")
    read_index(annotations)
    document = read_json(annotations)
    if "images" in document:
        raise DataError(f"{annotations} is of images (COCO), only files of videos can be divided")
    if not document.get("annotations"):
        raise DataError(f"{annotations} is unlabelled, there is nothing to split")
    if not document["annotations"]:
        raise DataError(f"{annotations} has no annotation, there is nothing to split")
    written: dict[Path, list[str]] = {}
    try:
        for path, part in zip(paths, split_document(document, ratio, seed=seed), strict=True):
            written[path] = publish(path, part, source=annotations)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def parse_ratio(text: str) -> tuple[int, int]:
    """(9, 1) from "9:1".

    Raises:
        ConfigError: it is not two positive whole numbers.
    """
    parts: Sequence[str] = text.split(":")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) <= _MAX_DIGITS and int(part) > 0 for part in parts):
        raise ConfigError(f"a ratio is two numbers such as 9:1, got {text!r}")
    return int(parts[0]), int(parts[1])
