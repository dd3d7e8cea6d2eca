"""Evaluation from its configuration: all videos or images of a split, results.json, the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

import stmask
from stmask.checkpoint_path import checkpoint_path
from stmask.checkpoints import ModelCard
from stmask.class_names import ids_by_name, listed
from stmask.config import plain
from stmask.data import DataModule
from stmask.data.synthetic.bench import NAME, VERSION, stated
from stmask.engine.evaluation_data import evaluation_data, evaluation_settings
from stmask.engine.workers import Work, run_all
from stmask.errors import ConfigError
from stmask.evaluation.report import class_table
from stmask.files import write_json
from stmask.hub.cache import sha256_of
from stmask.loading import load_segmenter, pick_device
from stmask.progress import ProgressLines
from stmask.runs.evaluations import METRICS, RECORD, EvaluationRecord
from stmask.runs.validations import RESULTS, TIMES, write_times
from stmask.tasks.base import Scores
from stmask.threads import settle

_log = logging.getLogger(__name__)

_MOST_AT_ONCE = 8
_BYTES_OF_A_FRAME = 2**30  # of GPU memory, more than the largest backbone needs at 640 x 360


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Evaluates `cfg.checkpoint` on a split as `conf/evaluate.yaml` says.

    It writes results.json, metrics.json, evaluation.json and, of videos, videos.csv with the seconds of each.

    Returns:
        The twelve metrics by their usual names (of images those of boxes, too: "box_AP"), those of one's own, and
        "seconds" and "frames_per_second". Without ground truth only the last two.

    Raises:
        StmaskError: whatever the user can mend.
    """
    evaluator, output, console = Evaluator(cfg), Path(cfg.output), Console()
    job = evaluator.job(cfg.split)
    with counted_frames(job.frames) as advance:
        done = evaluator.run(job, output, on_frame=advance)
    if done.left_out:
        print(f"not among the categories of {job.annotations}, so left out: {listed(done.left_out)}")
    if done.scores is not None:
        print(job.data.task.table(done.scores.report), class_table(done.scores.report), sep="\n")
        for name in job.data.task.metrics:
            print(f"{name}: {done.scores.metrics[name]:.4g}")
    else:
        console.print(f"{job.annotations} has no annotations of objects: nothing to score, results are written")
    speed = f"{done.metrics['frames_per_second']:.1f} frames per second"
    console.print(f"{job.data.task.count(len(job.data.valid_dataset), job.frames)}, {speed}")
    console.print(f"written: {output / RESULTS}, {output / METRICS}", soft_wrap=True)
    return done.metrics


@dataclass(frozen=True, slots=True)
class Job:
    """A split to evaluate with.

    Attributes:
        data: its data module, opened.
        truth: what results are scored against, read and right; None for an unlabelled split.
        category_ids: of the dataset for the labels 1..K of the network, None for a class that it does not have.
        record: what the results will be of.
    """

    data: DataModule
    truth: Any
    category_ids: tuple[int | None, ...]
    record: EvaluationRecord

    @property
    def annotations(self) -> Path:
        return self.data.valid_dataset.annotations_path

    @property
    def frames(self) -> int:
        """In all of its videos."""
        return int(self.data.valid_dataset.index.frame_starts[-1])


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of a job.

    Attributes:
        metrics: as they were written.
        scores: None without ground truth.
        left_out: classes of the network that the dataset does not have.
    """

    metrics: dict[str, float]
    scores: Scores | None
    left_out: list[str]


class Evaluator:
    """A checkpoint, loaded once, to be evaluated on splits.

    Args:
        cfg: of `conf/evaluate.yaml`; `split` and `output` have no part in it.
    """

    def __init__(self, cfg: DictConfig) -> None:
        if (chosen := settle()) is not None:
            _log.info("computing with %s", chosen)
        self._devices = _devices(cfg.device, cfg.devices)
        self._batch = _batch(cfg.batch, self._devices[0])
        self._changes = plain(cfg.data)
        self._settings = {"model": plain(cfg.model), "data": self._changes}
        self.checkpoint = checkpoint_path(cfg.checkpoint, runs=cfg.output_root)
        self._load = partial(load_segmenter, self.checkpoint, model=plain(cfg.model), trust=tuple(cfg.trust))
        # several processes load their own
        self._here = self._load(device=self._devices[0] if len(self._devices) == 1 else None)
        self._card = cast(ModelCard, self._here.model.card)
        self._digest = sha256_of(self.checkpoint)

    @property
    def root(self) -> str | None:
        """Where the splits lie; None where the annotations are given by their path."""
        root = evaluation_settings(self._card, self.checkpoint, self._changes | {"valid": "valid"}).get("root")
        return None if root is None else str(root)

    def job(self, split: str | None) -> Job:
        """Opens a split; None: the one that the run was validated with.

        Raises:
            StmaskError: it can't be evaluated with.
        """
        data = evaluation_data(self._card, self.checkpoint, self._changes | ({} if split is None else {"valid": split}))
        data.setup("validate")
        dataset = data.valid_dataset
        card_says = f"{self.checkpoint} (`stmask import --classes` gives it other names)"
        category_ids = ids_by_name(
            self._card.class_names,
            dict(zip(dataset.category_ids, dataset.class_names)),
            network=str(self.checkpoint) if self._card.data else card_says,
            dataset=str(dataset.annotations_path),
        )
        states = stated(dataset.annotations_path)
        if states is not None and states.version != VERSION:
            _log.warning(
                "%s is of version %d of the benchmark %s, not of version %d: compare results of one version only",
                *(dataset.annotations_path, states.version, NAME, VERSION),
            )
        record = EvaluationRecord(
            checkpoint=str(self.checkpoint.absolute()),
            checkpoint_sha256=self._digest,
            split=split,
            annotations=str(dataset.annotations_path.absolute()),
            annotations_sha256=sha256_of(dataset.annotations_path),
            benchmark=None if states is None else NAME,
            version=None if states is None else states.version,
            settings=self._settings,
            stmask=stmask.__version__,
        )
        truth = data.task.truth(dataset.annotations_path) if dataset.scorable else None  # it may be wrong
        return Job(data, truth, category_ids, record)

    def run(self, job: Job, output: Path, *, on_frame: Callable[[], None]) -> Evaluated:
        """Evaluates, and writes what comes of it to a folder."""
        task, items, dataset = job.data.task, job.data.videos(), job.data.valid_dataset
        make = self._load if len(self._devices) > 1 else lambda *, device: self._here
        work = Work(task, items, job.category_ids, segmenter=make, batch=self._batch)
        entries, seconds, each = run_all(work, self._devices, on_frame=on_frame)
        (output / RECORD).unlink(missing_ok=True)  # it would be of results that are replaced now
        write_json(output / RESULTS, entries)
        if task.drawn:
            write_times(output / TIMES, dict(zip(dataset.index.video_ids.tolist(), each, strict=True)))
        metrics = {"seconds": seconds, "frames_per_second": job.frames / max(seconds, 1e-9)}
        scores = None
        if job.truth is not None:
            scores = task.score(job.truth, entries, dataset.index.video_ids.tolist())
            metrics = {**scores.metrics, **metrics}
        write_json(output / METRICS, metrics, indent=1)
        job.record.write(output)
        names = zip(self._card.class_names, job.category_ids)
        return Evaluated(metrics, scores, [name for name, category in names if category is None])


@contextmanager
def counted_frames(frames: int) -> Iterator[Callable[[], None]]:
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
