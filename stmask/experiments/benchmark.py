"""Measures the speed of runs and checkpoints: what to load, and where the result goes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from stmask.checkpoints import ModelCard
from stmask.data import VideoClips
from stmask.engine.evaluation_data import evaluation_data, same_videos
from stmask.errors import CheckpointError, ConfigError, DataError, StmaskError
from stmask.experiments.speed import FRAMES, PRECISIONS, write_speed
from stmask.experiments.timing import TimingClip, measure, take_clips
from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.video import VideoReader
from stmask.loading import load_segmenter, pick_device
from stmask.runs.folder import BEST, CHECKPOINTS, LAST

_AT_ONCE = 8  # networks in memory
_WAY_OUT = "give --frames-from VIDEO_OR_FOLDER"


def load_networks(places: Sequence[str | os.PathLike[str]], *, device: str, precision: str) -> list[VideoSegmenter]:
    """Segmenters for checkpoints and the best checkpoints of run folders, all on one device.

    Raises:
        CheckpointError: the weights are missing or broken.
        ConfigError: no such device or precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    where = pick_device(device)
    autocast = None if precision == PRECISIONS[0] else getattr(torch, precision)
    return [load_segmenter(checkpoint_at(place), device=where, autocast=autocast) for place in places]


def checkpoint_at(place: str | os.PathLike[str]) -> Path:
    """A checkpoint, or the best one of a run's folder: the last one if nothing was validated.

    Raises:
        CheckpointError: the folder holds none.
    """
    path = Path(place)
    found = [file for name in (BEST, LAST) if (file := path / CHECKPOINTS / name).is_file()]
    if path.is_dir() and not found:
        raise CheckpointError(f"{path} holds no {CHECKPOINTS}/{BEST} or {LAST}: give a checkpoint, or a run's folder")
    return found[0] if path.is_dir() else path


def validation_clips(network: VideoSegmenter, *, frames: int, source: str) -> list[TimingClip]:
    """Clips from the videos that a network was validated with.

    Args:
        frames: to time.
        source: of the network, a checkpoint or a run's folder.

    Raises:
        DataError: the data is not there.
        ConfigError: the network doesn't say what it was trained on, or its data are not videos.
    """
    if not (card := _card_of(network)).data:
        raise ConfigError(f"{source} does not say what it was validated with: {_WAY_OUT}")
    data = evaluation_data(card, checkpoint_at(source), way_out=_WAY_OUT)
    try:
        videos = VideoClips(data.valid_dataset)
        source = str(data.valid_dataset.frames_path)
        return take_clips((videos[i] for i in range(len(videos))), frames=frames, source=source)
    except DataError as error:
        raise DataError(f"the validation videos of {source} can't be read ({error}): {_WAY_OUT}") from error


def file_clips(path: str | os.PathLike[str], *, frames: int) -> list[TimingClip]:
    """Clips from one video file or folder of frames.

    Raises:
        DataError: it can't be read.
        ConfigError: it has a single frame.
    """

    return take_clips([VideoReader(path)], frames=frames, source=str(path))


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
    for start in range(0, len(folders), _AT_ONCE):
        groups: dict[str, dict[Path, VideoSegmenter]] = defaultdict(dict)  # by validation data
        for folder in folders[start : start + _AT_ONCE]:
            try:
                (network,) = load_networks([folder], device=device, precision=PRECISIONS[0])
                card = _card_of(network)
                groups[same_videos(card, checkpoint_at(folder)) if card.data else ""][folder] = network
            except StmaskError as error:
                problems.append(_not_measured(folder, error))
        for group in groups.values():
            networks = list(group.values())
            try:
                clips = validation_clips(networks[0], frames=FRAMES, source=str(next(iter(group))))
            except StmaskError as error:
                problems += [_not_measured(folder, error) for folder in group]
                continue
            for folder, speed in zip(group, measure(networks, clips, precision=PRECISIONS[0]), strict=True):
                write_speed(folder, speed)
                on_run(f"{folder}: {speed.fps:.1f} FPS ({speed.conditions})")
    return problems


def _card_of(network: VideoSegmenter) -> ModelCard:
    card = network.model.card
    assert isinstance(card, ModelCard)
    return card


def _not_measured(folder: Path, error: StmaskError) -> str:
    return f"FPS of {folder} was not measured: {error}"
