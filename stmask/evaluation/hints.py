"""What is probably wrong with annotations and results that can be scored but look unintended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stmask.class_names import listed
from stmask.evaluation.ground_truth import Category, GroundTruth
from stmask.evaluation.results import Predictions
from stmask.evaluation.video_ap import VideoAPReport, evaluate

_FACTOR = 2.0  # by which stated areas may differ from the masks'; those of small tracks do differ
_POOR, _RATIO = 0.1, 5.0  # AP50 below which, and factor by which, AP50 without classes must be higher


def truth_hints(ground_truth: GroundTruth) -> Iterator[str]:
    """A line for each oddity of the annotations that the metrics depend on."""
    names = Counter(category.name for category in ground_truth.categories)
    if same := [name for name, count in names.items() if count > 1]:
        yield f"several categories share a name, and are scored as separate classes: {listed(same)}"
    tracks, masks = ground_truth.labelled_tracks, ground_truth.mask_areas.means()
    if empty := [track.id for track, area in zip(tracks, masks, strict=True) if area == 0 and not track.is_crowd]:
        yield (
            f"{len(empty)} of {len(tracks)} annotations have no mask in any frame and count as missed objects, "
            f"the first is annotation {empty[0]}"
        )
    off = [
        (track, area)
        for track, area in zip(tracks, masks.tolist(), strict=True)
        if track.area is not None and area and not area / _FACTOR <= track.area <= area * _FACTOR
    ]
    if off:
        track, area = off[0]
        yield (
            f"{len(off)} of {len(tracks)} annotations state 'areas' that disagree with their masks; 'areas' decide "
            f"what is small or large; the first is annotation {track.id}: {track.area:g}, its masks have {area:g}"
        )


def hints(ground_truth: GroundTruth, predictions: Predictions, report: VideoAPReport) -> Iterator[str]:
    """A line each for: no masks at all, duplicate entries, and masks that fit objects of other classes."""
    if not predictions.areas.per_frame.any():
        yield f"no mask in any of its {len(predictions)} entries: nothing was found"
    if repeats := repeated_entries(predictions):
        more = f" and {len(repeats) - 1} more" if len(repeats) > 1 else ""
        entry, before = repeats[0]
        yield f"entry {entry} repeats entry {before}{more}: repeated entries count as false positives"
    found = report.stats["AP50"]
    if len(ground_truth.categories) > 1 and len(predictions) and found < _POOR:
        without = evaluate(*without_classes(ground_truth, predictions)).stats["AP50"]
        if without > max(_POOR, _RATIO * found):
            yield (
                f"AP50 is {100 * found:.1f}, and {100 * without:.1f} when classes are left out: are the category ids "
                "those of another dataset, or in another order?"
            )


def repeated_entries(predictions: Predictions) -> list[tuple[int, int]]:
    """Entries that repeat an earlier one, each with the first of its kind."""
    alike: dict[tuple[int, int, float], list[int]] = {}
    columns = (predictions.video_ids.tolist(), predictions.category_ids.tolist(), predictions.scores.tolist())
    for entry, key in enumerate(zip(*columns, strict=True)):
        alike.setdefault(key, []).append(entry)
    repeats = []
    for entries in alike.values():
        first: dict[tuple[str | None, ...], int] = {}
        for entry in entries if len(entries) > 1 else ():
            masks = tuple([mask["counts"] if mask else None for mask in predictions.segmentations[entry]])
            if first.setdefault(masks, entry) != entry and any(masks):
                repeats.append((entry, first[masks]))
    return sorted(repeats)


def without_classes(ground_truth: GroundTruth, predictions: Predictions) -> tuple[GroundTruth, Predictions]:
    """The same with a single class."""
    tracks = tuple(replace(track, category_id=0) for track in ground_truth.labelled_tracks)
    truth = GroundTruth(ground_truth.videos, (Category(0, "object"),), tracks, ground_truth.source)
    return truth, replace(predictions, category_ids=np.zeros_like(predictions.category_ids))
