"""What is probably wrong with results that can be scored but were hardly meant so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stmask.evaluation.ground_truth import Category, GroundTruth
from stmask.evaluation.results import Predictions
from stmask.evaluation.video_ap import VideoAPReport, evaluate

_POOR, _RATIO = 0.1, 5.0  # AP50 below which, and times which, masks without their classes have to be found


def hints(ground_truth: GroundTruth, predictions: Predictions, report: VideoAPReport) -> Iterator[str]:
    """A line for each: entries that are there twice, and masks that fit the objects of other classes."""
    if repeats := repeated_entries(predictions):
        more = f" and {len(repeats) - 1} more" if len(repeats) > 1 else ""
        entry, before = repeats[0]
        yield f"entry {entry} is entry {before} over again{more}: repeated entries count as false positives"
    found = report.stats["AP50"]
    if len(ground_truth.categories) > 1 and len(predictions) and found < _POOR:
        without = evaluate(*without_classes(ground_truth, predictions)).stats["AP50"]
        if without > max(_POOR, _RATIO * found):
            yield (
                f"AP50 is {100 * found:.1f}, and {100 * without:.1f} when classes are left out: are the category ids "
                "those of another dataset, or in another order?"
            )


def repeated_entries(predictions: Predictions) -> list[tuple[int, int]]:
    """Entries that equal an earlier one in everything, each with the first of its kind."""
    alike: dict[tuple[int, int, float], list[int]] = {}
    columns = (predictions.video_ids.tolist(), predictions.category_ids.tolist(), predictions.scores.tolist())
    for entry, key in enumerate(zip(*columns, strict=True)):
        alike.setdefault(key, []).append(entry)
    repeats = []
    for entries in alike.values():
        first: dict[tuple[str | None, ...], int] = {}
        for entry in entries if len(entries) > 1 else ():
            masks = tuple(mask["counts"] if mask else None for mask in predictions.segmentations[entry])
            if first.setdefault(masks, entry) != entry and any(masks):
                repeats.append((entry, first[masks]))
    return sorted(repeats)


def without_classes(ground_truth: GroundTruth, predictions: Predictions) -> tuple[GroundTruth, Predictions]:
    """The same with one class for all."""
    tracks = tuple(replace(track, category_id=0) for track in ground_truth.labelled_tracks)
    truth = GroundTruth(ground_truth.videos, (Category(0, "object"),), tracks, ground_truth.source)
    return truth, replace(predictions, category_ids=np.zeros_like(predictions.category_ids))
