"""One evaluation from its configuration: all videos or images of a split, results.json, the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from stmask.checkpoint_path import checkpoint_path
from stmask.checkpoints import ModelCard
from stmask.class_names import ids_by_name, listed
from stmask.config import plain
from stmask.engine.evaluation_data import evaluation_data
from stmask.engine.workers import Work, run_all
from stmask.errors import ConfigError
from stmask.evaluation.report import class_table
from stmask.files import write_json
from stmask.loading import load_segmenter, pick_device
from stmask.progress import ProgressLines
from stmask.runs.validations import RESULTS, TIMES, write_times
from stmask.threads import settle

_log = logging.getLogger(__name__)

_MOST_AT_ONCE = 8
_BYTES_OF_A_FRAME = 2**30  # of GPU memory, more than the largest backbone needs at 640 x 360


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Evaluates `cfg.checkpoint` on a split as `conf/evaluate.yaml` says.

    It writes results.json, metrics.json and, of videos, videos.csv with the seconds of each.

    Returns:
        The twelve metrics by their usual names (of images those of boxes, too: "box_AP"), those of one's own, and
        "seconds" and "frames_per_second". Without ground truth only the last two.

    Raises:
        StmaskError: whatever the user can mend.
    """
    if (chosen := settle()) is not None:
        _log.info("computing with %s", chosen)
    output = Path(cfg.output)
    devices = _devices(cfg.device, cfg.devices)
    checkpoint = checkpoint_path(cfg.checkpoint, runs=cfg.output_root)
    load = partial(load_segmenter, checkpoint, model=plain(cfg.model), trust=tuple(cfg.trust))
    here = load(device=devices[0] if len(devices) == 1 else None)  # several processes load their own
    card = cast(ModelCard, here.model.card)
    changes = plain(cfg.data) | ({} if cfg.split is None else {"valid": cfg.split})
    data = evaluation_data(card, checkpoint, changes)
    data.setup("validate")
    dataset, task, items = data.valid_dataset, data.task, data.videos()
    category_ids = ids_by_name(
        card.class_names,
        dict(zip(dataset.category_ids, dataset.class_names)),
        network=str(checkpoint) if card.data else f"{checkpoint} (`stmask import --classes` gives it other names)",
        dataset=str(dataset.annotations_path),
    )
    total = sum(dataset.length(index) for index in range(len(dataset)))
    truth = task.truth(dataset.annotations_path) if dataset.scorable else None  # read now: it may be wrong
    with _counted(total) as advance:
        make = load if len(devices) > 1 else lambda *, device: here
        work = Work(task, items, category_ids, segmenter=make, batch=_batch(cfg.batch, devices[0]))
        entries, seconds, each = run_all(work, devices, on_frame=advance)
    write_json(output / RESULTS, entries)
    if task.drawn:
        write_times(output / TIMES, dict(zip(dataset.index.video_ids.tolist(), each, strict=True)))
    metrics = {"seconds": seconds, "frames_per_second": total / max(seconds, 1e-9)}
    console = Console()
    if left_out := [name for name, category in zip(card.class_names, category_ids) if category is None]:
        print(f"not among the categories of {dataset.annotations_path}, so left out: {listed(left_out)}")
    if truth is not None:
        scores = task.score(truth, entries, dataset.index.video_ids.tolist())
        print(task.table(scores.report), class_table(scores.report), sep="\n")
        for name in task.metrics:
            print(f"{name}: {scores.metrics[name]:.4g}")
        metrics = {**scores.metrics, **metrics}
    else:
        console.print(
            f"{dataset.annotations_path} has no annotations of objects: nothing to score, results are written"
        )
    write_json(output / "metrics.json", metrics, indent=1)
    console.print(f"{task.count(len(items), total)}, {metrics['frames_per_second']:.1f} frames per second")
    console.print(f"written: {output / RESULTS}, {output / 'metrics.json'}", soft_wrap=True)
    return metrics


@contextmanager
def _counted(frames: int) -> Iterator[Callable[[], None]]:
    """A progress bar, or a line a minute where none is seen; yields what advances it by a frame."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("frames"))
    console = Console(stderr=True)
    lines = ProgressLines("evaluating", frames, "frames", wanted=not console.is_terminal)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("evaluating", total=frames)

        def advance() -> None:
            progress.advance(bar)
            lines.advance()

        yield advance


def _batch(name: str, device: torch.device) -> int:
    """Videos or images that go through the network side by side.

    `auto` is 1 on a CPU, where more help small networks only, and results are then to the bit those of validation.

    Raises:
        ConfigError: neither auto nor a positive number.
    """
    if name.isdecimal() and int(name) > 0:
        return int(name)
    if name != "auto":
        raise ConfigError(f"batch must be auto or a positive number, got {name}")
    if device.type == "cpu":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST_AT_ONCE, free // _BYTES_OF_A_FRAME))


def _devices(name: str, number: int) -> list[torch.device]:
    """One for each process: GPUs from the first on, or the CPU for all.

    Raises:
        ConfigError: more than there are GPUs, or several of one that is chosen by its number.
    """
    first = pick_device(name)
    if number == 1 or first.type == "cpu":
        return [first] * number
    if ":" in name:
        raise ConfigError(f"device={name} is one GPU, devices={number} wants {number}: give device=cuda")
    return [pick_device(f"{first.type}:{index}") for index in range(number)]
