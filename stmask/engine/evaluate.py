"""One evaluation from its configuration: all videos or images of a split, results.json, the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stmask.checkpoints import ModelCard
from stmask.class_names import ids_by_name, listed
from stmask.config import plain
from stmask.data import ImageDataModule, VideoClips, VISDataModule
from stmask.engine.evaluation_data import evaluation_data
from stmask.engine.videos import segment_image, segment_video
from stmask.evaluation import GroundTruth, to_results
from stmask.evaluation import evaluate as score_videos
from stmask.evaluation.image_ap import evaluate_images, to_detections
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.evaluation.report import class_table, figures_table, image_figures_table
from stmask.files import write_json
from stmask.loading import load_segmenter, pick_device


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Evaluates `cfg.checkpoint` on a split as `conf/evaluate.yaml` says; writes results.json and metrics.json.

    Returns:
        The twelve figures by their usual names (of images those of boxes, too: "box_AP"), and "seconds" and
        "frames_per_second". Without ground truth only the last two.

    Raises:
        StmaskError: whatever the user can mend.
    """
    output = Path(cfg.output)
    segmenter = load_segmenter(cfg.checkpoint, model=plain(cfg.model), device=pick_device(cfg.device), trust=cfg.trust)
    card = cast(ModelCard, segmenter.model.card)
    changes = plain(cfg.data) | ({} if cfg.split is None else {"valid": cfg.split})
    data = evaluation_data(card, cfg.checkpoint, changes)
    data.setup("validate")
    dataset = data.valid_dataset
    category_ids = ids_by_name(
        card.class_names,
        dict(zip(dataset.category_ids, dataset.class_names)),
        network=cfg.checkpoint if card.data else f"{cfg.checkpoint} (`stmask import --classes` gives it other names)",
        dataset=str(dataset.annotations_path),
    )
    clips = VideoClips(dataset, prefetch=data.prefetch)
    total = sum(len(clips[index]) for index in range(len(clips)))
    kind = _kind_of(data)
    truth = kind.truth(dataset.annotations_path) if dataset.scorable else None  # read now: it may be wrong
    start = perf_counter()
    results = []
    with _progress() as progress:
        bar = progress.add_task("evaluating", total=total)
        for index in range(len(clips)):
            results.append(kind.run(segmenter, clips[index], on_frame=lambda: progress.advance(bar)))
    seconds = perf_counter() - start
    entries = kind.entries(results, category_ids)
    write_json(output / "results.json", entries)
    figures = {"seconds": seconds, "frames_per_second": total / max(seconds, 1e-9)}
    console = Console()
    if left_out := [name for name, category in zip(card.class_names, category_ids) if category is None]:
        print(f"not among the categories of {dataset.annotations_path}, so left out: {listed(left_out)}")
    if truth is not None:
        report = kind.score(truth, entries)
        print(kind.figures(report), class_table(report), sep="\n")
        figures = {**report.stats, **figures}
    else:
        console.print(
            f"{dataset.annotations_path} has no annotations of objects: nothing to score, results are written"
        )
    write_json(output / "metrics.json", figures, indent=1)
    console.print(f"{kind.count(len(clips), total)}, {figures['frames_per_second']:.1f} frames per second")
    console.print(f"written: {output / 'results.json'}, {output / 'metrics.json'}", soft_wrap=True)
    return figures


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the evaluation of videos and of images.

    Attributes:
        run: one video (of one frame) through a segmenter, to its result.
        entries: results and the dataset's ids of the classes to the entries of a results.json.
        truth: an annotation file to what entries are scored against.
        score: that and entries to a report.
        figures: a report to a table.
        count: the number of videos and that of frames, in words.
    """

    run: Callable[..., Any]
    entries: Callable[[list[Any], Sequence[int | None]], list[dict[str, Any]]]
    truth: Callable[[Path], Any]
    score: Callable[[Any, list[dict[str, Any]]], Any]
    figures: Callable[[Any], str]
    count: Callable[[int, int], str]


_VIDEOS = _Kind(
    run=segment_video,
    entries=to_results,
    truth=GroundTruth.load,
    score=score_videos,
    figures=figures_table,
    count=lambda videos, frames: f"{videos} videos, {frames} frames",
)
_IMAGES = _Kind(
    run=segment_image,
    entries=to_detections,
    truth=ImageGroundTruth.load,
    score=evaluate_images,
    figures=image_figures_table,
    count=lambda images, _: f"{images} images",
)


def _kind_of(data: VISDataModule) -> _Kind:
    return _IMAGES if isinstance(data, ImageDataModule) else _VIDEOS


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
