"""`stmask demo`: data, training, evaluation and pictures, from nothing, on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from rich.console import Console

    from stmask.inference.predict import DrawStyle
    from stmask.inference.segmenter import VideoSegmenter

SUMMARY = "the whole workflow in miniature: makes videos, trains on them, evaluates, draws (about 15 minutes)"

_PRESET = "easy"
_TRAIN_VIDEOS, _VALID_VIDEOS = 400, 40
_HELD_OUT_SEED = 10_000  # the long video's seed, apart from those of training and evaluation
_LONG_FRAMES = 72
_LONG_VIDEO: dict[str, Any] = {"frames": _LONG_FRAMES, "objects": (3, 3), "speed": (0.003, 0.012)}
_SHEET_VIDEOS, _SHEET_COLUMNS = 5, 4
_ZOOM = 2


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask demo --help`."""
    options = _parser().parse_args(list(argv))
    _demo(Path(options.output), seed=options.seed, overrides=options.overrides)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="stmask demo", description=SUMMARY)
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="where everything goes (default: demo)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the run (default: 0)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the experiment `demo`")
    return parser


def _demo(folder: Path, *, seed: int, overrides: Sequence[str]) -> None:
    from rich.console import Console

    from stmask.config import compose
    from stmask.engine.evaluate import evaluate
    from stmask.engine.train import train
    from stmask.files import write_json
    from stmask.runs.folder import RunFolder

    console, folder = Console(), folder.absolute()
    summary_file, run = folder / "summary.json", RunFolder(folder / "run")
    summary_file.unlink(missing_ok=True)
    console.rule("1/4 synthetic videos")
    data = _make_data(folder / "data", console)
    console.rule("2/4 training")
    fixed = [f"data.root={data}", f"output_dir={run.path}", f"seed={seed}", "resume=auto"]
    trained = train(compose("train", ["experiment=demo", *fixed, *overrides]))
    checkpoint = run.last
    console.rule("3/4 evaluation on held-out videos")
    evaluated = evaluate(compose("evaluate", [f"checkpoint={checkpoint}", f"output={folder / 'evaluation'}"]))
    console.rule("4/4 pictures")
    written = _draw(folder, checkpoint, data)
    summary = {
        "AP": evaluated["AP"],
        "AP50": evaluated["AP50"],
        "AR10": evaluated["AR10"],
        "seed": seed,
        "train_seconds": round(trained["train_seconds"], 1),
        "evaluate_seconds": round(evaluated["seconds"], 1),
        "frames_per_second": round(evaluated["frames_per_second"], 1),
    }
    write_json(summary_file, summary, indent=1)
    for path in (*written, checkpoint, summary_file):
        console.print(f"written: {path}", soft_wrap=True)


def _make_data(folder: Path, console: Console) -> Path:
    """Makes the videos; those of an earlier run are the same bytes and are kept."""
    from stmask.console import counted
    from stmask.data.synthetic import SyntheticConfig, write_dataset

    if (folder / "train.json").exists():
        console.print(f"{folder} exists already")
        return folder
    with counted("videos", _TRAIN_VIDEOS + _VALID_VIDEOS) as advance:
        write_dataset(
            folder, SyntheticConfig.preset(_PRESET), videos=_TRAIN_VIDEOS, valid_videos=_VALID_VIDEOS, on_video=advance
        )
    return folder


def _draw(folder: Path, checkpoint: Path, data: Path) -> list[Path]:
    """An mp4 of one long held-out video, and a sheet of frames of several."""
    import shutil

    from stmask import viz
    from stmask.console import counted
    from stmask.data.synthetic import SyntheticConfig, write_dataset
    from stmask.inference.predict import DrawStyle, predict_video
    from stmask.inference.video import VideoReader
    from stmask.loading import load_segmenter

    segmenter = load_segmenter(checkpoint)
    style = DrawStyle(zoom=_ZOOM)
    long_folder = folder / "long_video"
    shutil.rmtree(long_folder, ignore_errors=True)
    config = SyntheticConfig.preset(_PRESET, **_LONG_VIDEO)
    write_dataset(long_folder, config, videos=0, valid_videos=1, seed=_HELD_OUT_SEED)
    frames = VideoReader(next((long_folder / "valid" / "JPEGImages").iterdir()))
    video, sheet = folder / "video.mp4", folder / "sheet.png"
    with counted("frames", _LONG_FRAMES) as advance:
        predict_video(
            segmenter,
            frames,
            outputs={"video": video, "json": folder / "video.json"},
            fps=12,
            style=style,
            on_frame=advance,
        )
    cells = [cell for source in _busiest_videos(data) for cell in _row(segmenter, source, style)]
    image = viz.sheet([frame for frame, _ in cells], columns=_SHEET_COLUMNS, titles=[title for _, title in cells])
    viz.write_image(sheet, image)
    return [video, sheet]


def _busiest_videos(data: Path) -> list[Path]:
    """The held-out videos with the most objects, the first one of each count in file order."""
    from stmask.files import read_json

    truth = read_json(data / "valid.json")
    objects = {video["id"]: 0 for video in truth["videos"]}
    for track in truth["annotations"]:
        objects[track["video_id"]] += 1
    ranked = sorted(truth["videos"], key=lambda video: -objects[video["id"]])
    frames = data / "valid" / "JPEGImages"
    return [(frames / video["file_names"][0]).parent for video in ranked[:_SHEET_VIDEOS]]


def _row(segmenter: VideoSegmenter, source: Path, style: DrawStyle) -> Iterator[tuple[Any, str]]:
    """Evenly spaced drawn frames of a video, each with its title."""
    from stmask.inference.predict import Selection, draw_tracked
    from stmask.inference.video import VideoReader

    segmenter.reset()
    select = Selection()
    drawn = [
        draw_tracked(frame, select(segmenter.step(frame)), class_names=segmenter.class_names, style=style)
        for frame in VideoReader(source)
    ]
    for column in range(_SHEET_COLUMNS):
        index = column * (len(drawn) - 1) // (_SHEET_COLUMNS - 1)
        yield drawn[index], f"held-out {source.name}, frame {index}"
