"""Measures the speed of runs and checkpoints, and keeps that of runs in their folders."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from stmask.benchmarks.record import Result
from stmask.benchmarks.turns import Entry, measure
from stmask.checkpoint_path import checkpoint_path
from stmask.checkpoints import ModelCard
from stmask.engine.evaluation_data import same_videos
from stmask.errors import StmaskError
from stmask.experiments.speed import FRAMES, PRECISIONS, Conditions, Speed, write_speed
from stmask.loading import load, pick_device

_AT_ONCE = 8  # networks in memory


def inference_entry(
    place: str | os.PathLike[str],
    *,
    device: str,
    precision: str = PRECISIONS[0],
    frames_from: str | None = None,
    validated_by: str | os.PathLike[str],
    frames: int,
    videos: int = 1,
    masks: bool = True,
    yardstick: bool = False,
    trust: Sequence[str] = (),
) -> Entry:
    """A checkpoint, or a run's best one, to be timed frame by frame; see `stmask.benchmarks.inference.Contender`.

    Raises:
        CheckpointError: the folder holds none.
    """
    arguments = {
        "checkpoint": str(checkpoint_path(place)),
        "device": device,
        "precision": precision,
        "frames_from": frames_from,
        "validated_by": str(checkpoint_path(validated_by)),
        "frames": frames,
        "videos": videos,
        "masks": masks,
        "yardstick": yardstick,
        "trust": list(trust),
    }
    return Entry(str(place), arguments)


def keep_speed(folder: str | os.PathLike[str], result: Result) -> Speed:
    """Writes a measurement of a run's network to its fps.json."""
    own = result.conditions
    conditions = Conditions(own.device, own.precision or "", own.threads or 0, own.torch or "")
    speed = Speed(
        milliseconds=result.median,
        p10=result.percentile(10),
        p90=result.percentile(90),
        frames=len(result.samples),
        objects=result.details["objects"],
        stages=result.stages,
        height=int(result.details["height"]),
        width=int(result.details["width"]),
        conditions=conditions,
    )
    write_speed(folder, speed)
    return speed


def measure_runs(folders: Sequence[Path], *, device: str, on_run: Callable[[str], None]) -> list[str]:
    """Measures runs on their own validation videos and keeps the results in their folders.

    Runs with the same videos take turns, a few at a time, so that other load on the machine affects them equally.

    Args:
        folders: of the runs.
        device: for all of them.
        on_run: called with a line about each run.

    Returns:
        A line for each run that could not be measured.
    """
    pick_device(device)  # a missing device fails once, and not for every run
    problems: list[str] = []
    groups: dict[str, list[Path]] = defaultdict(list)  # by validation data
    for folder in folders:
        try:
            checkpoint = checkpoint_path(folder)
            card = load(checkpoint).card
            assert isinstance(card, ModelCard)
            groups[same_videos(card, checkpoint) if card.data else ""].append(folder)
        except StmaskError as error:
            problems.append(_not_measured(folder, error))
    for group in groups.values():
        for start in range(0, len(group), _AT_ONCE):
            together = group[start : start + _AT_ONCE]
            try:
                entries = [
                    inference_entry(folder, device=device, validated_by=together[0], frames=FRAMES)
                    for folder in together
                ]
                results = measure("inference", entries, repeats=FRAMES).results
            except StmaskError as error:
                problems += [_not_measured(folder, error) for folder in together]
                continue
            for folder, result in zip(together, results):
                speed = keep_speed(folder, result)
                on_run(f"{folder}: {speed.fps:.1f} FPS ({speed.conditions})")
    return problems


def _not_measured(folder: Path, error: StmaskError) -> str:
    return f"FPS of {folder} was not measured: {error}"
