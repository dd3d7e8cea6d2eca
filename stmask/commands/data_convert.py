"""`stmask data convert KIND ...`: from and to other formats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from stmask.data.convert import Notes

SUMMARY = "convert from and to COCO, mask images (DAVIS, YouTube-VOS) and SA-V"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask data convert",
        description=f"{SUMMARY}. What is written was checked before; what was left out is counted.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    def kind(name: str, summary: str, *paths: tuple[str, str]) -> Parser:
        one = kinds.add_parser(name, help=summary, description=summary)
        for argument, explanation in paths:
            dest = "source" if argument == "IN" else argument.lower()
            one.add_argument(dest, metavar=argument, type=Path, help=explanation)
        if paths[-1] is written:
            one.add_argument("--overwrite", action="store_true", help="replace OUT if it is there already")
        return one

    written = ("OUT", "annotation file to write")
    coco = kind(
        "coco-to-ytvis", "COCO images to videos (of one frame unless they name theirs)", ("IN", "COCO file"), written
    )
    grouping = coco.add_mutually_exclusive_group()
    grouping.add_argument(
        "--videos-by-folder", action="store_true", help="each folder of images is a video, whatever 'video_id' says"
    )
    grouping.add_argument("--single-frames", action="store_true", help="each image is a video")
    coco.add_argument(
        "--ignore-iscrowd", action="store_true", help="crowd regions are objects (CVAT says 'iscrowd' of brush strokes)"
    )
    kind("ytvis-to-coco", "videos to COCO images with instance ids", ("IN", "YouTube-VIS file"), written)
    masks = kind(
        "masks-to-ytvis",
        "mask images to YouTube-VIS",
        ("FRAMES", "folder of frames, FRAMES/VIDEO/00000.jpg"),
        ("MASKS", "folder of mask images, MASKS/VIDEO/00000.png, pixel value k for object k"),
        written,
    )
    masks.add_argument(
        "--classes", type=Path, metavar="FILE", help="classes of the objects, as YouTube-VOS's meta.json names them"
    )
    folder = "folder to write; must not exist or be empty"
    kind("ytvis-to-masks", "videos to mask images", ("IN", "YouTube-VIS file"), ("OUT", folder))
    sav = kind(
        "sav-to-ytvis",
        "SA-V masklets to YouTube-VIS; the annotated frames are written too",
        ("IN", "folder with VIDEO.mp4 and VIDEO_manual.json or VIDEO_auto.json"),
        ("OUT", "folder to write: train.json and train/JPEGImages"),
    )
    sav.add_argument("--masklets", choices=("manual", "auto", "both"), default="manual", help="(default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Converts, checks, writes, and prints what was written; counts and what was left out go to stderr."""
    options = _parser().parse_args(argv)
    from stmask.data.convert import Notes

    notes = Notes()
    out, (counts, *warnings) = _convert(options, notes)
    print(out)
    print(f"  {counts}", *(f"  {line}" for line in [*notes, *warnings]), sep="\n", file=sys.stderr)
    return 0


def _convert(options: argparse.Namespace, notes: Notes) -> tuple[Path, list[str]]:
    """Writes what the options ask for; returns the place, and lines about it: counts first, then warnings."""
    from stmask.data import convert
    from stmask.data.publish import publish, require_free
    from stmask.folders import atomic_folder

    out: Path = options.out
    if options.kind == "masks-to-ytvis":
        inputs = [options.frames, options.masks, *([options.classes] if options.classes else [])]
        require_free(out, inputs, overwrite=options.overwrite)
        document = convert.from_masks(options.frames, options.masks, options.classes, notes=notes)
        return out, publish(out, document, frames=options.frames)
    if options.kind == "sav-to-ytvis":
        return _from_masklets(options, notes)
    source: Path = options.source
    if options.kind == "ytvis-to-masks":
        require_free(out, [source])
        document = _read(source, "videos", options.kind)
        with atomic_folder(out) as folder, _naming(source):
            masks = convert.to_masks(document, folder, notes)
        images = sum(len(video["file_names"]) for video in document["videos"])
        tracks = sum(not track.get("iscrowd") for track in document["annotations"])
        return out, [f"{len(document['videos'])} videos, {images} mask images, {tracks} tracks, {masks} masks"]
    document = _read(source, "images" if options.kind == "coco-to-ytvis" else "videos", options.kind)
    with _naming(source):
        if options.kind == "coco-to-ytvis":
            videos = convert.Videos.BY_FOLDER if options.videos_by_folder else convert.Videos.BY_ID
            videos = convert.Videos.SINGLE_FRAMES if options.single_frames else videos
            document = convert.from_images(document, videos=videos, ignore_iscrowd=options.ignore_iscrowd, notes=notes)
        else:
            document = convert.to_images(document, notes)
    require_free(out, [source], overwrite=options.overwrite)
    return out, publish(out, document, source=source)


def _from_masklets(options: argparse.Namespace, notes: Notes) -> tuple[Path, list[str]]:
    from stmask.data.convert import from_masklets
    from stmask.data.publish import publish, require_free
    from stmask.errors import OutputError
    from stmask.folders import atomic_folder

    annotations, frames = options.out / "train.json", options.out / "train"
    if options.out.exists() and options.source.exists() and options.out.samefile(options.source):
        raise OutputError(f"{options.out} is the folder of the videos; choose another one to write")
    for path in (annotations, frames):
        require_free(path, [])
    with atomic_folder(frames) as folder:
        videos = _sav_videos(options.source, options.masklets, notes)
        document = from_masklets(videos, folder / "JPEGImages", notes=notes)
        return annotations, publish(annotations, document, frames=folder / "JPEGImages")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors in a document name the file that it is from."""
    from stmask.data.convert.tracks import KeyMissing
    from stmask.errors import DataError

    try:
        yield
    except KeyMissing as error:
        raise DataError(f"{path} is not a COCO file: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read(path: Path, key: str, kind: str) -> dict[str, Any]:
    """The input document; one of videos validated by the reader."""
    from stmask.data.reader import read_index
    from stmask.errors import DataError
    from stmask.files import read_json

    document = read_json(path)
    if not isinstance(document, dict) or key not in document:
        raise DataError(f"{path} has no {key!r}, it cannot be converted by {kind}")
    if key == "videos":
        if "images" in document:
            raise DataError(f"{path} is of images (COCO), {kind} takes a file of videos")
        read_index(path)
    return document


def _sav_videos(folder: Path, which: str, notes: Notes) -> Iterator[tuple[list[Path], Any]]:
    from stmask.errors import DataError
    from stmask.folders import list_folder
    from stmask.inference.video import VideoReader

    kinds = ("manual", "auto") if which == "both" else (which,)
    files = [file for file in list_folder(folder) if file.is_file()]
    videos = [file for file in files if file.suffix.lower() == ".mp4"]
    if not videos:
        inside = (inner for inner in list_folder(folder) if inner.is_dir() and any(inner.glob("*.[mM][pP]4")))
        raise DataError(f"no videos (*.mp4) in {folder}" + "".join(f", but in {inner}" for inner in list(inside)[:1]))
    stems = {video.stem for video in videos}
    for file in files:
        stem, _, kind = file.stem.rpartition("_")
        if file.suffix == ".json" and kind in ("manual", "auto") and (stem not in stems or kind not in kinds):
            notes.add("masklets of another kind or without a video, left out", file.name)
    for video in videos:
        own = [file for kind in kinds if (file := video.with_name(f"{video.stem}_{kind}.json")).is_file()]
        if own:
            yield own, VideoReader(video)
        else:
            notes.add("videos without masklets, left out", video.name)
