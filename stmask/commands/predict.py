"""`stmask predict VIDEO_OR_FOLDER checkpoint=... output=...`: draws one video and writes its results."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stmask.config_schemas import PredictSchema
    from stmask.inference.predict import PredictSummary

SUMMARY = "segment and track the objects of a video: an mp4 with masks, and results.json"
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
}  # options that Hydra answers without running
_KEY = re.compile(r"[~+]{0,2}(((model|hydra)/[\w/@.]*)|[A-Za-z_][\w.@]*)")


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask predict --help`."""
    from stmask.config import hyphenated, run_hydra_app, without_config_dir
    from stmask.errors import ConfigError

    rest, places = without_config_dir(argv)
    options = [argument for argument in rest if argument.startswith("-") and not Path(argument).exists()]
    if refused := sorted(option for option in options if option.partition("=")[0] not in _ANSWERS):
        if "=" in refused[0]:
            raise ConfigError(hyphenated(refused[0]))
        raise ConfigError(
            f"stmask predict has no option {refused[0]}; it takes KEY=VALUE, see stmask predict --help "
            f"(a file of that name is ./{refused[0]})"
        )
    if options:
        return run_hydra_app("predict", None, argv)
    source, overrides = _split(rest)
    _predict(_compose(source, [*places, *overrides]))
    return 0


def _split(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The source, which is the argument that is not an override (or names an existing path), and the overrides."""
    from stmask.errors import ConfigError

    sources: list[str] = []
    overrides: list[str] = []
    for argument in argv:
        named = argument.removeprefix("source=")
        if _is_source(named):
            sources.append(named)
        else:
            overrides.append(argument)
    if len(sources) > 1:
        shown = ", ".join("an address" if "://" in source else source for source in sources)
        raise ConfigError(f"one video or folder at a time, got {shown}; overrides have the form KEY=VALUE")
    return next(iter(sources), None), overrides


def _is_source(argument: str) -> bool:
    """Whether a word is a path or address: keys have no path separators (except config groups) and no spaces."""
    key, equals, _ = argument.partition("=")
    if not equals or "://" in key or _exists(argument):
        return True
    return not _KEY.fullmatch(key)


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _compose(source: str | None, overrides: Sequence[str]) -> PredictSchema:
    from omegaconf import OmegaConf

    from stmask.config import compose
    from stmask.config_schemas import PredictSchema
    from stmask.errors import ConfigError
    from stmask.files import at_home

    composed = compose("predict", overrides)
    if source is not None:
        composed.source = source if os.path.lexists(source) else at_home(source)
    if not composed.source:
        raise ConfigError("no video to segment; usage: stmask predict VIDEO_OR_FOLDER checkpoint=FILE output=out.mp4")
    cfg: Any = OmegaConf.to_object(composed)
    assert isinstance(cfg, PredictSchema)
    return cfg


def _predict(cfg: PredictSchema) -> None:
    import logging
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stmask.class_names import listed
    from stmask.errors import ConfigError
    from stmask.inference.film import FPS_RANGE
    from stmask.inference.predict import DrawStyle, predict_video
    from stmask.inference.selection import Selection, labels_of
    from stmask.inference.sinks import check_places, outputs_at
    from stmask.inference.video import VideoReader
    from stmask.loading import half_precision, load_segmenter, pick_device
    from stmask.threads import settle

    try:
        style = DrawStyle(**asdict(cfg.draw))
    except ValueError as error:
        raise ConfigError(f"draw: {error}") from error
    if cfg.fps is not None and not FPS_RANGE[0] <= cfg.fps <= FPS_RANGE[1]:
        raise ConfigError(f"fps must be {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, got {cfg.fps}")
    if not 0 <= cfg.min_score <= 1:
        raise ConfigError(f"min_score must be 0 to 1, got {cfg.min_score}")
    outputs = outputs_at(Path(cfg.output), cfg.format)
    device = pick_device(cfg.device)
    assert cfg.source is not None
    check_places([Path(cfg.source)], [outputs])
    source = VideoReader(cfg.source)
    if (chosen := settle()) is not None:
        logging.getLogger(__name__).info("computing with %s", chosen)
    segmenter = load_segmenter(
        cfg.checkpoint,
        model=cfg.model,
        device=device,
        autocast=half_precision(device) if cfg.half else None,
        trust=cfg.trust,
    )
    labels = None if cfg.classes is None else labels_of(cfg.classes, segmenter.class_names)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(source.path.name, total=source.length)
        summary = predict_video(
            segmenter,
            source,
            outputs=outputs,
            select=Selection(min_score=cfg.min_score, labels=labels),
            fps=cfg.fps,
            style=style,
            on_frame=lambda: progress.advance(bar),
        )
    _report(summary)
    if segmenter.class_names and set(outputs) - {"video", "masks"}:
        ids = [f"{label} {name}" for label, name in enumerate(segmenter.class_names, start=1)]
        print(f"category_id in the results (the network's class numbers): {listed(ids)}")
    print("written:", ", ".join(str(path.resolve()) for path in outputs.values()))


def _report(summary: PredictSummary) -> None:
    """Where the time went, as a table; the stages overlap."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary.frames} frames, {summary.tracks} objects")
    table.add_column("stage")
    for heading in ("seconds", "ms per frame", "share"):
        table.add_column(heading, justify="right")
    for stage, seconds in summary.seconds.items():
        share = seconds / max(summary.wall_seconds, 1e-9)
        table.add_row(stage, f"{seconds:.2f}", f"{1000 * seconds / summary.frames:.1f}", f"{share:.0%}")
    table.add_section()
    per_frame = 1000 * summary.wall_seconds / summary.frames
    table.add_row("all", f"{summary.wall_seconds:.2f}", f"{per_frame:.1f}", f"{summary.frames_per_second:.1f} frames/s")
    Console().print(table)
