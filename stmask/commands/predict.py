"""`stmask predict SOURCE checkpoint=... output=...`: draws videos and writes what was found in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from stmask.config_schemas import PredictSchema
    from stmask.inference.jobs import Job
    from stmask.inference.predict import DrawStyle, PredictSummary
    from stmask.inference.segmenter import VideoSegmenter
    from stmask.inference.selection import Selection
    from stmask.inference.source import FrameRange, FrameSource

_NAMED = 10  # videos, in an error about many
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
    sources, overrides = _split(rest)
    cfg = _compose(sources, [*places, *overrides])
    _predict(cfg, sources or [str(cfg.source)])
    return 0


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sources, which are the arguments that are not overrides (or name an existing path), and the overrides."""
    sources: list[str] = []
    overrides: list[str] = []
    for argument in argv:
        named = argument.removeprefix("source=")
        if named and _is_source(named):
            sources.append(named)
        else:
            overrides.append(argument)
    return sources, overrides


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


def _compose(sources: Sequence[str], overrides: Sequence[str]) -> PredictSchema:
    from omegaconf import OmegaConf

    from stmask.config import compose
    from stmask.config_schemas import PredictSchema
    from stmask.errors import ConfigError

    composed = compose("predict", overrides)
    if not sources and not composed.source:
        raise ConfigError("no video to segment; usage: stmask predict VIDEO_OR_FOLDER checkpoint=FILE output=out.mp4")
    cfg: Any = OmegaConf.to_object(composed)
    assert isinstance(cfg, PredictSchema)
    return cfg


def _predict(cfg: PredictSchema, words: Sequence[str]) -> None:
    from dataclasses import asdict

    from stmask.class_names import listed
    from stmask.errors import INTERRUPTED, ConfigError, Interrupted
    from stmask.inference.film import FPS_RANGE
    from stmask.inference.jobs import plan
    from stmask.inference.places import find_places
    from stmask.inference.predict import DrawStyle
    from stmask.inference.source import FrameRange, Moment
    from stmask.loading import pick_device

    try:
        style = DrawStyle(**asdict(cfg.draw))
    except ValueError as error:
        raise ConfigError(f"draw: {error}") from error
    if cfg.fps is not None and not FPS_RANGE[0] <= cfg.fps <= FPS_RANGE[1]:
        raise ConfigError(f"fps must be {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, got {cfg.fps}")
    if not 0 <= cfg.min_score <= 1:
        raise ConfigError(f"min_score must be 0 to 1, got {cfg.min_score}")
    start, end = (
        None if text is None else Moment.parse(text, key=key) for key, text in (("start", cfg.start), ("end", cfg.end))
    )
    wanted = FrameRange(cfg.stride, start, end, cfg.max_frames)
    device = pick_device(cfg.device)
    jobs = plan(find_places(words), cfg.output, cfg.format, wanted=wanted)
    run = _Run(cfg, style, wanted, device, jobs)
    run.all()
    if run.summaries:
        _report(_total(run.summaries))
        outputs = [path for job in run.done for path in job.outputs.values()]
        formats = {name for job in run.done for name in job.outputs}
        if run.class_names and formats - {"video", "masks"}:
            ids = [f"{label} {name}" for label, name in enumerate(run.class_names, start=1)]
            print(f"category_id in the results (the network's class numbers): {listed(ids)}")
        if len(jobs) == 1:
            print("written:", ", ".join(str(path.resolve()) for path in outputs))
        else:
            print(f"written: {len(run.done)} of {len(jobs)} videos, to {Path(cfg.output).resolve()}")
    if run.signal == INTERRUPTED - 128:
        raise KeyboardInterrupt
    if run.signal is not None:
        raise Interrupted(128 + run.signal)
    run.require_all()


class _Run:
    """Segments one video after the other, with weights that are loaded once. One that can't be read is left out.

    Attributes:
        done: the videos that were written.
        summaries: of those.
        failed: what is wrong with the others, and with those that ended too early.
        class_names: of the network.
        signal: what ended it, if anything; None also where Ctrl-C is the only end, as of a camera.
    """

    def __init__(
        self, cfg: PredictSchema, style: DrawStyle, wanted: FrameRange, device: torch.device, jobs: Sequence[Job]
    ) -> None:
        self._cfg, self._style, self._wanted, self._device, self._jobs = cfg, style, wanted, device, jobs
        self._segmenter: VideoSegmenter | None = None
        self._select: Selection | None = None
        self.done: list[Job] = []
        self.summaries: list[PredictSummary] = []
        self.failed: list[str] = []
        self.class_names: Sequence[str] = ()
        self.signal: int | None = None

    def all(self) -> None:
        """Does all that can be done.

        Raises:
            StmaskError: what concerns all of them, or the only one.
        """
        from stmask.errors import DataError

        for number, job in enumerate(self._jobs, start=1):
            try:
                source = job.open(self._wanted)
                ended = self._one(job, source, "" if len(self._jobs) == 1 else f"{number} of {len(self._jobs)}: ")
            except DataError as error:
                if len(self._jobs) == 1:
                    raise
                self._fails(str(error))
                continue
            if source.incomplete is not None:
                self._fails(f"{source.name}: {source.incomplete}; what came until then is written")
            if ended:
                return

    def require_all(self) -> None:
        """Raises DataError if there are videos that could not be read to their end."""
        from stmask.errors import DataError

        if len(self._jobs) == 1 and self.failed:
            raise DataError(self.failed[0])
        if self.failed:
            named = "; ".join(self.failed[:_NAMED]) + (" ..." if len(self.failed) > _NAMED else "")
            raise DataError(f"{len(self.failed)} of {len(self._jobs)} videos could not be read to their end: {named}")

    def _fails(self, why: str) -> None:
        import logging

        self.failed.append(why)
        if len(self._jobs) > 1:
            logging.getLogger(__name__).error("%s", why)

    def _one(self, job: Job, source: FrameSource, number: str) -> bool:
        """Segments one video; whether Ctrl-C or the like ended it."""
        from stmask.console import ending_well
        from stmask.inference.predict import predict_video

        segmenter = self._segmenter or self._load()
        with ending_well(source.stop) as signals, _progress(f"{number}{source.name}", source.length) as advance:
            summary = predict_video(
                segmenter,
                source,
                outputs=job.outputs,
                select=self._select,
                fps=self._cfg.fps,
                style=self._style,
                on_frame=advance,
            )
        self.done.append(job)
        self.summaries.append(summary)
        if number:
            speed = f"{summary.frames_per_second:.1f} frames/s"
            print(f"{number}{source.name}: {summary.frames} frames, {summary.tracks} objects, {speed}")
        if signals and source.length is not None:
            self.signal = signals[0]
        return bool(signals)

    def _load(self) -> VideoSegmenter:
        import logging

        from stmask.inference.selection import Selection, labels_of
        from stmask.loading import half_precision, load_segmenter
        from stmask.threads import settle

        cfg = self._cfg
        if (chosen := settle()) is not None:
            logging.getLogger(__name__).info("computing with %s", chosen)
        self._segmenter = segmenter = load_segmenter(
            cfg.checkpoint,
            model=cfg.model,
            device=self._device,
            autocast=half_precision(self._device) if cfg.half else None,
            trust=cfg.trust,
        )
        labels = None if cfg.classes is None else labels_of(cfg.classes, segmenter.class_names)
        self._select, self.class_names = Selection(min_score=cfg.min_score, labels=labels), segmenter.class_names
        return segmenter


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, a line a minute elsewhere; for what has no end, how many frames there were and how long."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from stmask.progress import ProgressLines

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    time = TimeElapsedColumn() if total is None else TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, time, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        lines = ProgressLines(what, total, "frames", wanted=not console.is_terminal)

        def advance() -> None:
            progress.advance(bar)
            lines.advance()

        yield advance


def _total(summaries: Sequence[PredictSummary]) -> PredictSummary:
    """Of several videos together."""
    from stmask.inference.predict import PredictSummary

    seconds: dict[str, float] = {}
    for summary in summaries:
        for stage, spent in summary.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    frames, tracks = sum(each.frames for each in summaries), sum(each.tracks for each in summaries)
    return PredictSummary(frames, tracks, seconds, sum(each.wall_seconds for each in summaries))


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
