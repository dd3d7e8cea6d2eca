"""`stmask data frames VIDEO FOLDER`: a video as a folder of images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "save the frames of a video as images"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask data frames",
        description=SUMMARY + ": upright, and named by their number in the video, 00000.jpg, 00001.jpg, ...",
        epilog="A time is 12.5s, 1:30 (minutes and seconds) or 1:02:30; a frame is 300f.",
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument("folder", metavar="FOLDER", help="to be made; it must not exist, or be empty")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth frame only (default: %(default)s)")
    parser.add_argument("--start", metavar="PLACE", help="the first frame at this time or number (default: the first)")
    parser.add_argument("--end", metavar="PLACE", help="before this time or number (default: the end)")
    parser.add_argument("--png", action="store_true", help="PNG, without loss, in place of JPEG")
    parser.add_argument("--quality", type=int, default=95, metavar="N", help="of JPEG, 1 to 100 (default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Writes the folder, whole or not at all, and prints its path."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.every < 1 or not 1 <= options.quality <= 100:
        parser.error("--every must be at least 1, --quality 1 to 100")
    from stmask.console import counted
    from stmask.inference.frame_files import write_frames
    from stmask.inference.source import FrameRange, Moment
    from stmask.inference.video import VideoReader

    start, end = (
        None if text is None else Moment.parse(text, key=key)
        for key, text in (("--start", options.start), ("--end", options.end))
    )
    source = VideoReader(options.video, FrameRange(options.every, start, end))
    with counted(source.name, source.length) as advance:
        suffix = ".png" if options.png else ".jpg"
        count = write_frames(source, Path(options.folder), suffix=suffix, quality=options.quality, on_frame=advance)
    print(options.folder)
    print(f"{count} frames", file=sys.stderr)
    return 0
