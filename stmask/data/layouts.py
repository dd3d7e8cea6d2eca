"""Where datasets keep their annotations and frames: the folder layouts that are recognised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stmask.errors import DataError
from stmask.signatures import nearest

# In the order tried: YouTube-VIS 2019, YouTube-VOS style, YouTube-VIS 2021, OVIS, LV-VIS, COCO.
ANNOTATION_PATTERNS = (
    "{split}.json",
    "annotations_instances/{split}.json",
    "{split}/instances.json",
    "annotations_{split}.json",
    "{split}_instances.json",
    "annotations/instances_{split}2017.json",
)
FRAME_PATTERNS = (
    "{split}/JPEGImages",
    "JPEGImages/{split}",
    "{split}",
    "JPEGImages",
    "{split}2017",
    "images/{split}2017",
)
_SHOWN = 200  # characters of a file name
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SYNONYMS = {"valid": ("valid", "val"), "val": ("val", "valid")}


def find_annotations(root: Path, split: str) -> Path:
    """The annotation file of a split of the dataset in `root`.

    Raises:
        DataError: there is no such folder, or no file of any known layout in it.
    """
    if not root.is_dir():
        raise DataError(
            f"no dataset folder {root}: give its path by data.root=... or the environment variable STMASK_DATA"
        )
    found = _find(root, split)
    if found is not None:
        return found
    tried = ", ".join(pattern.format(split=split) for pattern in ANNOTATION_PATTERNS)
    near = nearest(split, (path.stem for path in root.glob("*.json")))
    hint = f"; did you mean {near}?" if near else ""
    hint = "; `stmask data split` divides a labelled split in two" if split.endswith("-sub") else hint
    raise DataError(f"no annotations of split {split!r} in {root}: looked for {tried}{hint}")


def annotation_file(
    root: str | os.PathLike[str] | None,
    split: str,
    *,
    annotations: str | os.PathLike[str] | None = None,
    frames: str | os.PathLike[str] | None = None,
) -> Path:
    """The annotation file of a split, by explicit paths or else by the layout of `root`.

    Raises:
        DataError: neither is enough, or something that is named is not there.
    """
    if root is None and (annotations is None or frames is None):
        raise DataError(f"split {split!r}: give data.root, or both its annotation file and its folder of frames")
    path = Path(annotations) if annotations is not None else find_annotations(Path(root or ""), split)
    if not path.exists():
        raise DataError(f"no such file: {path}")
    if frames is not None and not Path(frames).is_dir():
        raise DataError(f"no folder of frames {frames}")
    return path


def known_splits(root: Path) -> list[str]:
    """The splits with the usual names whose annotations are in `root`."""
    names = ("train", "valid", "test", "train-sub", "valid-sub")
    return [split for split in names if root.is_dir() and _find(root, split) is not None]


def _find(root: Path, split: str) -> Path | None:
    for word in _SYNONYMS.get(split, (split,)):
        for pattern in ANNOTATION_PATTERNS:
            if (root / pattern.format(split=word)).is_file():
                return root / pattern.format(split=word)
    return None


def same_layout(root: Path, split: str, annotations: Path, name: str) -> Path:
    """Where the annotations of a split called `name` belong beside those of `split`, in the same layout."""
    for word in _SYNONYMS.get(split, (split,)):
        for pattern in ANNOTATION_PATTERNS:
            if root / pattern.format(split=word) == annotations:
                return root / pattern.format(split=name)
    return annotations.with_name(f"{name}.json")


def find_frames(root: Path, split: str, first_frames: list[str]) -> Path:
    """The folder below `root` to which the file names in the annotations are relative.

    Args:
        first_frames: file names of a few frames, to recognise the folder. A split made from another one's videos has no
            folder of its own, so every folder named JPEGImages and every one directly in `root` is considered.

    Raises:
        DataError: no folder of a known layout holds any of these frames.
    """
    for folder in _frame_folders(root, split):
        if any(os.path.isfile(folder / name) for name in first_frames):  # also False for an impossible file name
            return folder
    example = first_frames[0][:_SHOWN] if first_frames else "<video>/00000.jpg"
    known = ", ".join(pattern.format(split=split) for pattern in FRAME_PATTERNS)
    hint = "; 'file_names' have Windows separators, write / for each" if "\\" in example else ""
    raise DataError(
        f"no frames of split {split!r} in {root}: looked for {example} in {known} and their neighbours{hint}"
    )


def _frame_folders(root: Path, split: str) -> Iterator[Path]:
    for word in _SYNONYMS.get(split, (split,)):
        for pattern in FRAME_PATTERNS:
            yield root / pattern.format(split=word)
    for pattern in ("*/JPEGImages", "JPEGImages/*/", "*/"):
        yield from sorted(path for path in root.glob(pattern) if not path.name.startswith((".", "__MACOSX")))
