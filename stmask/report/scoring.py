"""What a results file scores against its ground truth, by class, cause of error and video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.causes import FOREGROUND_IOU, Cause, Causes, find_causes
from stmask.evaluation.curves import Ranked, accumulate
from stmask.evaluation.explain import Explanation, explain
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import Overlaps, measure
from stmask.evaluation.matching import TrackMatches
from stmask.evaluation.overlap import intersections
from stmask.evaluation.results import Predictions
from stmask.evaluation.video_ap import VideoAPReport, assign, summarise

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VideoScore:
    """One video by itself.

    Attributes:
        ap: over its tracks of all classes together; None for a video without objects.
        objects, found: annotated tracks, and those of them that were matched at IoU 0.5.
        false: false positives that reach the score from which tracks are drawn.
        frames: of the video.
    """

    video_id: int
    ap: float | None
    objects: int
    found: int
    false: int
    frames: int


@dataclass(frozen=True)
class Scored:
    """Results with all that is known of their errors; N predictions are in the order of `overlaps`.

    Attributes:
        videos: in the order of the file.
        min_score: from which tracks are drawn and counted as false.
    """

    truth: GroundTruth
    overlaps: Overlaps
    matches: TrackMatches
    report: VideoAPReport
    explanation: Explanation
    causes: Causes
    videos: tuple[VideoScore, ...]
    min_score: float

    @property
    def predictions(self) -> Predictions:
        return self.overlaps.predictions

    def meant(self, prediction: int) -> int:
        """The annotation that a prediction is matched with or was meant for; -1 for background."""
        matched = int(self.matches.truth[0, 0, prediction])
        return matched if matched >= 0 else int(self.causes.target[prediction])


def score(truth: GroundTruth, predictions: Predictions, *, min_score: float) -> Scored:
    """Scores all videos of the ground truth."""
    overlaps = measure(truth, predictions)
    matches = assign(truth, overlaps)
    causes = find_causes(truth, overlaps, matches)
    return Scored(
        truth=truth,
        overlaps=overlaps,
        matches=matches,
        report=summarise(truth, overlaps, matches),
        explanation=explain(truth, overlaps, matches),
        causes=causes,
        videos=_by_video(truth, overlaps, matches, causes, min_score),
        min_score=min_score,
    )


def _by_video(
    truth: GroundTruth, overlaps: Overlaps, matches: TrackMatches, causes: Causes, min_score: float
) -> tuple[VideoScore, ...]:
    predictions, tracks = overlaps.predictions, truth.labelled_tracks
    place = {video_id: index for index, video_id in enumerate(truth.videos)}
    of_predictions = np.array([place[video_id] for video_id in predictions.video_ids.tolist()], dtype=np.int64)
    of_truths = np.array([place[track.video_id] for track in tracks], dtype=np.int64)
    counts = ~truth.crowds
    objects = np.bincount(of_truths[counts], minlength=len(place))
    found = np.bincount(of_truths[counts & causes.found], minlength=len(place))
    false = (causes.of_predictions >= 0) & (predictions.scores >= min_score)
    wrong = np.bincount(of_predictions[false], minlength=len(place))
    aps = _average_precisions(of_predictions, overlaps, matches, objects)
    rows = zip(truth.videos.values(), aps.tolist(), objects.tolist(), found.tolist(), wrong.tolist(), strict=True)
    return tuple(
        VideoScore(video.id, None if ap < 0 else ap, objects, found, wrong, video.length)
        for video, ap, objects, found, wrong in rows
    )


def _average_precisions(
    of_predictions: Ints, overlaps: Overlaps, matches: TrackMatches, objects: Ints
) -> npt.NDArray[np.float64]:
    """(V,) AP over all thresholds of each video, its classes together; -1 without objects."""
    order = np.lexsort((-overlaps.predictions.scores, of_predictions))
    matched, ignored = matches.truth[:1, :, order] >= 0, matches.ignored[:1, :, order]
    ranked = Ranked(
        category=of_predictions[order],
        scores=overlaps.predictions.scores[order],
        rank=overlaps.rank[order],
        hits=matched & ~ignored,
        misses=~matched,
    )
    aps: npt.NDArray[np.float64] = accumulate(ranked, objects[:, None]).precision[..., 0, -1].mean(axis=(0, 1))
    return aps


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """An error and the frames that show it best.

    Attributes:
        cause: its title.
        video_id: where.
        prediction: index in the order of `overlaps`; None for a missed track.
        truth: index of the annotation; None for background.
        score, iou: of the prediction.
        frames: one or two, ascending.
    """

    cause: str
    video_id: int
    prediction: int | None
    truth: int | None
    score: float | None
    iou: float
    frames: tuple[int, ...]


def error_examples(scored: Scored, *, each: int) -> dict[str, list[ErrorExample]]:
    """For each cause the errors that count most (false positives by score, missed tracks by size), of several videos.

    Missed tracks that a false positive was meant for are shown by that.
    """
    of_entry = {entry: row for row, entry in enumerate(scored.overlaps.entries.tolist())}
    of_track = {track.id: index for index, track in enumerate(scored.truth.labelled_tracks)}
    sizes = scored.truth.mask_areas.totals()

    def weight(error: Mapping[str, Any]) -> float:
        return float(error["score"]) if error["score"] is not None else float(sizes[of_track[error["annotation_id"]]])

    by_cause: dict[str, list[Mapping[str, Any]]] = {}
    for error in scored.explanation.errors:
        if (error["cause"] == "missed") == (error["entry"] is None):
            by_cause.setdefault(error["cause"], []).append(error)
    examples = {}
    for cause in (cause.title for cause in Cause if cause.title in by_cause):
        chosen = _of_several_videos(sorted(by_cause[cause], key=lambda error: -weight(error)), each)
        examples[cause] = [_example(scored, error, of_entry=of_entry, of_track=of_track) for error in chosen]
    return examples


def _of_several_videos(errors: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The first of each video, then the others."""
    seen: set[int] = set()
    firsts: list[Mapping[str, Any]] = []
    others: list[Mapping[str, Any]] = []
    for error in errors:
        (others if error["video_id"] in seen else firsts).append(error)
        seen.add(error["video_id"])
    return [*firsts, *others][:count]


def _example(
    scored: Scored, error: Mapping[str, Any], *, of_entry: Mapping[int, int], of_track: Mapping[int, int]
) -> ErrorExample:
    prediction = None if error["entry"] is None else of_entry[error["entry"]]
    truth = None if error["annotation_id"] is None else of_track[error["annotation_id"]]
    example = ErrorExample(
        error["cause"], error["video_id"], prediction, truth, error["score"], error["iou"], frames=()
    )
    return replace(example, frames=_telling_frames(scored, example))


def _telling_frames(scored: Scored, example: ErrorExample) -> tuple[int, ...]:
    """The frames in which an error is seen."""
    nothing = np.zeros(scored.truth.videos[example.video_id].length, dtype=np.int64)
    own = nothing if example.prediction is None else scored.predictions.areas[example.prediction]
    their = nothing if example.truth is None else scored.truth.mask_areas[example.truth]
    if example.prediction is None or example.truth is None:
        return (int(np.argmax(own + their)),)
    masks = scored.predictions.segmentations[example.prediction], scored.truth.segmentations[example.truth]
    shared = intersections([masks[0]], [masks[1]])[:, 0, 0]
    union = own + their - shared
    if example.cause == "poor time span":
        alone = np.where((own > 0) != (their > 0), union, 0)
        return tuple(sorted({int(np.argmax(shared)), int(np.argmax(alone))}))
    if example.cause == "identity switch":
        ious = np.where(own > 0, shared / np.maximum(union, 1), np.nan)
        elsewhere = np.where(ious < FOREGROUND_IOU, own, 0)
        return tuple(sorted({int(np.nanargmax(ious)), int(np.argmax(elsewhere))}))
    if example.cause == "poor mask":
        return (int(np.argmax(np.where(shared > 0, union - shared, -1))),)
    return (int(np.argmax(shared)),)
