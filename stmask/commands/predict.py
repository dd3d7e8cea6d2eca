"""`stmask predict VIDEO_OR_FOLDER checkpoint=... output=...`: one video, drawn and as results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stmask.inference.predict import PredictSummary

SUMMARY = "segment and track the objects of a video: an mp4 with masks, and results.json"
_AUTO = "auto"
_ANSWERS = {
    "-h",
    "--help",
    "--hydra-help",
    "-c",
    "--cfg",
    "-p",
    "--package",
    "--resolve",
    "-i",
    "--info",
}  # options that Hydra answers without a run


@dataclass
class DrawSchema:
    """The key `draw` of conf/predict.yaml."""

    min_score: float = 0.0
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.0
    zoom: int = 1


@dataclass
class PredictSchema:
    """The keys of conf/predict.yaml; inference is checked by what it builds."""

    source: str | None = None
    checkpoint: str = ""
    output: str | None = None
    results: str | None = None
    device: str = ""
    fps: float | None = None
    trust: list[str] = field(default_factory=list)
    draw: DrawSchema = field(default_factory=DrawSchema)
    inference: Any = None


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask predict --help`."""
    from stmask.config import run_hydra_app
    from stmask.errors import ConfigError

    flags = {argument.partition("=")[0] for argument in argv if argument.startswith("-")}
    if refused := sorted(flags - _ANSWERS):
        raise ConfigError(f"stmask predict has no option {refused[0]}; it takes KEY=VALUE, see stmask predict --help")
    if flags:
        return run_hydra_app("predict", None, argv)
    source, overrides = _split(argv)
    _predict(_compose(source, overrides))
    return 0


def _split(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The source, an argument that is no override (or the name of something that exists), and the overrides."""
    from stmask.errors import ConfigError

    sources = [argument for argument in argv if "=" not in argument or Path(argument).exists()]
    if len(sources) > 1:
        raise ConfigError(f"one video or folder at a time, got {', '.join(sources)}; overrides have the form KEY=VALUE")
    return next(iter(sources), None), [argument for argument in argv if argument not in sources]


def _compose(source: str | None, overrides: Sequence[str]) -> PredictSchema:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from stmask.config import compose, explain
    from stmask.errors import ConfigError

    composed = compose("predict", overrides)
    if source is not None:
        composed.source = source
    if composed.source is None:
        raise ConfigError("no video to segment; usage: stmask predict VIDEO_OR_FOLDER checkpoint=FILE output=out.mp4")
    try:
        cfg: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PredictSchema), composed))
    except OmegaConfBaseException as error:
        raise explain(error, "predict", overrides) or error from error
    assert isinstance(cfg, PredictSchema)
    if cfg.results == _AUTO:
        cfg.results = None if cfg.output is None else str(Path(cfg.output).with_suffix(".json"))
    if cfg.output is None and cfg.results is None:
        raise ConfigError("nothing to write: give output=FILE or results=FILE")
    return cfg


def _predict(cfg: PredictSchema) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stmask.engine.evaluate import without_nulls
    from stmask.errors import ConfigError
    from stmask.inference.predict import DrawStyle, predict_video
    from stmask.inference.video import VideoReader, require_video_suffix
    from stmask.loading import load_segmenter, pick_device

    try:
        style = DrawStyle(**asdict(cfg.draw))
    except ValueError as error:
        raise ConfigError(f"draw: {error}") from error
    if cfg.fps is not None and cfg.fps <= 0:
        raise ConfigError(f"fps must be positive, got {cfg.fps}")
    if cfg.output is not None:
        require_video_suffix(cfg.output)
    assert cfg.source is not None
    source = VideoReader(cfg.source)
    segmenter = load_segmenter(
        cfg.checkpoint, inference=without_nulls(cfg.inference), device=pick_device(cfg.device), trust=cfg.trust
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(source.path.name, total=source.length)
        summary = predict_video(
            segmenter,
            source,
            output=cfg.output,
            results=cfg.results,
            fps=cfg.fps,
            style=style,
            on_frame=lambda: progress.advance(bar),
        )
    _report(summary)
    print("written:", ", ".join(str(Path(path).resolve()) for path in (cfg.output, cfg.results) if path is not None))


def _report(summary: PredictSummary) -> None:
    """Where the time went, as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary.frames} frames, {summary.tracks} objects")
    table.add_column("stage")
    for heading in ("seconds", "ms per frame", "share"):
        table.add_column(heading, justify="right")
    accounted = sum(summary.seconds.values())
    for stage, seconds in {**summary.seconds, "other": max(0.0, summary.wall_seconds - accounted)}.items():
        share = seconds / max(summary.wall_seconds, 1e-9)
        table.add_row(stage, f"{seconds:.2f}", f"{1000 * seconds / summary.frames:.1f}", f"{share:.0%}")
    table.add_section()
    per_frame = 1000 * summary.wall_seconds / summary.frames
    table.add_row("all", f"{summary.wall_seconds:.2f}", f"{per_frame:.1f}", f"{summary.frames_per_second:.1f} frames/s")
    Console().print(table)
