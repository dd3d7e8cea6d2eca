"""`stmask data show ROOT`: pictures of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser
from stmask.extras import require

if TYPE_CHECKING:
    from stmask.data import VideoDataset
    from stmask.viz import Image

SUMMARY = "draw a contact sheet of annotated frames and a page of statistics"
_CELL_WIDTH = 360  # pixels


def _parser() -> Parser:
    parser = Parser(prog="stmask data show", description=SUMMARY)
    parser.add_argument("root", metavar="ROOT", help="folder of the dataset")
    parser.add_argument("--split", default="train", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="where to write SPLIT-sheet.png and SPLIT-statistics.png"
    )
    parser.add_argument("--videos", type=int, default=8, metavar="N", help="rows of the sheet (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=4, metavar="N", help="frames of each (default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Writes the two pictures and prints their paths."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.videos < 1 or options.frames < 1:
        parser.error("--videos and --frames must be at least 1")
    require("matplotlib", what="stmask data show")
    from stmask.data import VideoDataset
    from stmask.data.statistics import collect, plot
    from stmask.files import atomic_path
    from stmask.viz import write_image

    dataset = VideoDataset.from_root(options.root, options.split)
    picture = _sheet(dataset, videos=options.videos, frames=options.frames)
    sheet, statistics = (Path(options.out) / f"{options.split}-{name}.png" for name in ("sheet", "statistics"))
    write_image(sheet, picture)
    with atomic_path(statistics) as path:
        plot(collect(dataset), path, title=f"{Path(options.root).resolve().name} {options.split}")
    print(sheet, statistics, sep="\n")
    return 0


def _sheet(dataset: VideoDataset, *, videos: int, frames: int) -> Image:
    """Evenly spaced videos, one row of frames each; or as many images as there are cells."""
    import numpy as np

    from stmask.viz import sheet

    def spread(length: int, count: int) -> list[int]:
        return [int(n) for n in np.linspace(0, length - 1, count).round()]

    if int(dataset.index.frame_starts[-1]) == len(dataset):
        shown = [(image, 0) for image in sorted(set(spread(len(dataset), videos * frames)))]
        titles = [f"image {dataset.video_id(image)}" for image, _ in shown]
    else:
        rows = [(video, dataset.length(video)) for video in sorted(set(spread(len(dataset), videos)))]
        shown = [(video, position) for video, length in rows for position in spread(length, frames)]
        titles = [f"video {dataset.video_id(v)}, frame {position} of {dataset.length(v)}" for v, position in shown]
    return sheet([_cell(dataset, *frame) for frame in shown], columns=frames, titles=titles)


def _cell(dataset: VideoDataset, video: int, position: int) -> Image:
    """One frame with its instances; track ids count from 1 in each video."""
    import cv2
    import numpy as np

    from stmask.viz import draw

    frame, found = dataset.read_frame(video, position), dataset.instances(video, position)
    size = (_CELL_WIDTH, max(1, round(_CELL_WIDTH * frame.shape[0] / frame.shape[1])))
    masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(bool) for mask in found.masks]
    first = int(dataset.index.annotation_starts[video])
    return draw(
        np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8),
        np.stack(masks) if masks else np.zeros((0, size[1], size[0]), dtype=bool),
        track_ids=[int(track) - first for track in found.track_ids],
        labels=found.labels.tolist(),
        class_names=dataset.class_names,
    )
