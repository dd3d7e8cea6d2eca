"""`stmask demo`: data, training, evaluation, pictures and a report, from nothing, on a CPU."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from stmask.inference.predict import DrawStyle
    from stmask.inference.segmenter import VideoSegmenter
    from stmask.runs.folder import RunFolder

SUMMARY = "the whole workflow in miniature: makes videos, trains on them, evaluates, draws, reports (about 5 minutes)"

TYPED = "STMASK_TYPED"  # the environment variable with what the user typed, where that is not this command

_PRESET = "easy"
_TRAIN_VIDEOS, _VALID_VIDEOS = 400, 40
_HELD_OUT_SEED = 10_000  # the long video's seed, apart from those of training and evaluation
_LONG_FRAMES = 72
_LONG_VIDEO: dict[str, Any] = {"frames": _LONG_FRAMES, "objects": (3, 3), "speed": (0.003, 0.012)}
_SHEET_VIDEOS, _SHEET_COLUMNS = 5, 4
_ZOOM = 2
_REPORT = "report.html"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask demo --help`."""
    options = _parser().parse_args(list(argv))
    again = os.environ.get(TYPED) or shlex.join(["stmask", "demo", *argv])
    _demo(Path(options.output), seed=options.seed, overrides=options.overrides, again=again)
    return 0


def _parser() -> Parser:
    about = f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Typed again it goes on where it stopped, and what is done is kept."
    parser = Parser(prog="stmask demo", description=about)
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="where everything goes (default: demo)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the run (default: 0)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the experiment `demo`")
    return parser


def _demo(folder: Path, *, seed: int, overrides: Sequence[str], again: str) -> None:
    from rich.console import Console

    from stmask.commands.report import write
    from stmask.config import compose
    from stmask.files import write_json
    from stmask.runs.folder import RunFolder

    console, folder = Console(), folder.absolute()
    summary_file, run = folder / "summary.json", RunFolder(folder / "run")
    fixed = [f"data.root={folder / 'data'}", f"output_dir={run.path}", f"seed={seed}", "resume=auto"]
    cfg = compose("train", ["experiment=demo", *fixed, *overrides])
    _require_same(run, cfg)
    summary_file.unlink(missing_ok=True)
    console.rule("1/5 synthetic videos")
    with _resumable(again):
        data = _make_data(folder / "data", console)
    console.rule("2/5 training")
    train_seconds = _train(run, cfg, again, console)
    with _resumable(again):
        console.rule("3/5 evaluation on held-out videos")
        evaluated = _evaluate(run.last, folder / "evaluation", console)
        console.rule("4/5 pictures")
        written = _draw(folder, run.last, data, console)
        console.rule("5/5 report")
        report = write([run.path, folder / "evaluation" / "results.json", data / "valid.json"], output=folder / _REPORT)
    summary = {
        "AP": evaluated["AP"],
        "AP50": evaluated["AP50"],
        "AR10": evaluated["AR10"],
        "seed": seed,
        "train_seconds": round(train_seconds, 1),
        "evaluate_seconds": round(evaluated["seconds"], 1),
        "frames_per_second": round(evaluated["frames_per_second"], 1),
    }
    write_json(summary_file, summary, indent=1)
    for path in (*written, run.last, summary_file):
        console.print(f"written: {path}", soft_wrap=True)
    console.print(f"AP {100 * evaluated['AP']:.1f}. To look at it, open {report} in a browser", soft_wrap=True)


@contextmanager
def _resumable(again: str) -> Iterator[None]:
    """Says how to go on where the block is interrupted; training says it itself."""
    from stmask.errors import Interrupted

    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        print(f"to go on: {again}", file=sys.stderr)
        raise


def _require_same(run: RunFolder, cfg: DictConfig) -> None:
    """Refuses to go on with a demo of other settings, or of another version's, before anything is done."""
    from stmask.errors import ConfigError
    from stmask.runs.config import config_beside
    from stmask.runs.identity import config_changes

    before = config_beside(run.last) if run.last.exists() else None
    if before is not None and (changes := config_changes(before, cfg)):
        raise ConfigError(
            f"{run.path.parent} holds a demo of other settings ({changes[0]}): give --output=FOLDER, or remove it"
        )


def _train(run: RunFolder, cfg: DictConfig, again: str, console: Console) -> float:
    """Trains, unless that was done; returns the seconds that it took in all."""
    from stmask.engine.train import train
    from stmask.files import read_json
    from stmask.runs.folder import SUMMARY as OUTCOME
    from stmask.runs.folder import Origin, status_of

    status = status_of(run.path)
    done = status.state == "done" and status.step == cfg.trainer.max_steps
    if done and run.last.exists() and (run.path / OUTCOME).exists():
        console.print(f"{run.path} is done already")
        return float(read_json(run.path / OUTCOME)["train_seconds"])
    command = tuple(shlex.split(again))
    return train(cfg, origin=Origin(command=command, experiment="demo", again=again))["train_seconds"]


def _evaluate(checkpoint: Path, output: Path, console: Console) -> dict[str, float]:
    """The metrics of the checkpoint on the held-out videos; those of an earlier time are kept."""
    from stmask.config import compose
    from stmask.engine.evaluate import evaluate
    from stmask.files import read_json

    metrics, results = output / "metrics.json", output / "results.json"
    if _is_newer(checkpoint, metrics, results):
        console.print(f"{metrics} exists already")
        found: dict[str, float] = read_json(metrics)
        return found
    return evaluate(compose("evaluate", [f"checkpoint={checkpoint}", f"output={output}"]))


def _is_newer(checkpoint: Path, *files: Path) -> bool:
    """Whether all of these were made, and after a checkpoint."""
    return all(file.exists() and file.stat().st_mtime >= checkpoint.stat().st_mtime for file in files)


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


def _draw(folder: Path, checkpoint: Path, data: Path, console: Console) -> list[Path]:
    """An mp4 of one long held-out video, and a sheet of frames of several; those of an earlier time are kept."""
    import shutil

    from stmask import viz
    from stmask.console import counted
    from stmask.data.synthetic import SyntheticConfig, write_dataset
    from stmask.inference.predict import DrawStyle, predict_video
    from stmask.inference.video import VideoReader
    from stmask.loading import load_segmenter

    video, sheet = folder / "video.mp4", folder / "sheet.png"
    if _is_newer(checkpoint, video, sheet):
        console.print(f"{video} and {sheet.name} exist already")
        return [video, sheet]
    segmenter = load_segmenter(checkpoint)
    style = DrawStyle(zoom=_ZOOM)
    long_folder = folder / "long_video"
    shutil.rmtree(long_folder, ignore_errors=True)
    config = SyntheticConfig.preset(_PRESET, **_LONG_VIDEO)
    write_dataset(long_folder, config, videos=0, valid_videos=1, seed=_HELD_OUT_SEED)
    frames = VideoReader(next((long_folder / "valid" / "JPEGImages").iterdir()))
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
