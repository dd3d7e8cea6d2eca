"""`stmask data convert KIND ...`: from and to other formats."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stmask.commands.parsing import Parser

SUMMARY = "convert from and to COCO, mask images (DAVIS, YouTube-VOS) and SA-V"


def _parser() -> Parser:
    parser = Parser(prog="stmask data convert", description=SUMMARY, allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    def kind(name: str, summary: str, *paths: tuple[str, str]) -> Parser:
        one = kinds.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        for argument, explanation in paths:
            one.add_argument(argument.lower(), metavar=argument, type=Path, help=explanation)
        return one

    written = ("OUT", "annotation file to write")
    kind("coco-to-ytvis", "COCO images to videos (of one frame unless they name theirs)", ("IN", "COCO file"), written)
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
    kind("ytvis-to-masks", "videos to mask images", ("IN", "YouTube-VIS file"), ("OUT", "folder to write"))
    sav = kind(
        "sav-to-ytvis",
        "SA-V masklets to YouTube-VIS; the annotated frames are written too",
        ("IN", "folder with VIDEO.mp4 and VIDEO_manual.json or VIDEO_auto.json"),
        ("OUT", "folder to write: train.json and train/JPEGImages"),
    )
    sav.add_argument("--masklets", choices=("manual", "auto", "both"), default="manual", help="(default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Converts, writes, and prints what was written."""
    options = _parser().parse_args(argv)
    from stmask.data import convert
    from stmask.files import write_json

    out: Path = options.out
    if options.kind == "coco-to-ytvis":
        write_json(out, _from_coco(options))
    elif options.kind == "ytvis-to-coco":
        write_json(out, convert.to_images(_read(options, "videos")))
    elif options.kind == "masks-to-ytvis":
        write_json(out, convert.from_masks(options.frames, options.masks, options.classes))
    elif options.kind == "ytvis-to-masks":
        convert.to_masks(_read(options, "videos"), out)
    else:
        document = convert.from_masklets(
            _sav_videos(getattr(options, "in"), options.masklets), out / "train/JPEGImages"
        )
        out = out / "train.json"
        write_json(out, document)
    print(out)
    return 0


def _read(options: argparse.Namespace, key: str) -> dict[str, Any]:
    """The input document, validated by the reader."""
    from stmask.data.reader import read_index
    from stmask.errors import DataError
    from stmask.files import read_json

    path: Path = getattr(options, "in")
    document = read_json(path)
    if not isinstance(document, dict) or key not in document:
        raise DataError(f"{path} has no {key!r}, it cannot be converted by {options.kind}")
    if key == "videos":
        if "images" in document:
            raise DataError(f"{path} is of images (COCO), {options.kind} takes a file of videos")
        read_index(path)
    return document


def _from_coco(options: argparse.Namespace) -> dict[str, Any]:
    from stmask.data.convert import from_images
    from stmask.errors import DataError

    try:
        return from_images(_read(options, "images"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{getattr(options, 'in')} is not a COCO file, something in it is missing: {error!r}"
        ) from error


def _sav_videos(folder: Path, which: str) -> Iterator[tuple[list[Path], Any]]:
    from stmask.errors import DataError
    from stmask.inference.video import VideoReader

    kinds = ("manual", "auto") if which == "both" else (which,)
    videos = sorted(folder.glob("*.mp4"))
    if not videos:
        raise DataError(f"no videos (*.mp4) in {folder}")
    for video in videos:
        files = [video.with_name(f"{video.stem}_{kind}.json") for kind in kinds]
        files = [file for file in files if file.is_file()]
        if files:
            yield files, VideoReader(video)
