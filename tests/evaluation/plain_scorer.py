"""Video AP written down as plainly as possible: loops over everything, on boolean arrays. Slow, to compare with.

Masks are (h, w) grids of square cells with `CELL` pixels a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELL = 64
Masks = list[np.ndarray | None]


@dataclass
class Truth:
    video: int
    category: int
    crowd: bool
    masks: Masks


@dataclass
class Prediction:
    video: int
    category: int
    score: float
    masks: Masks


RANGES = [(0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10)]
THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]


def iou(first: Masks, second: Masks) -> float:
    shared = union = 0
    for a, b in zip(first, second, strict=True):
        if a is None and b is None:
            continue
        empty = np.zeros_like(b if a is None else a)
        a, b = (empty if a is None else a), (empty if b is None else b)
        shared += int((a & b).sum())
        union += int((a | b).sum())
    return shared / union if union else 0.0


def mean_area(masks: Masks) -> float:
    areas = [int(m.sum()) * CELL**2 for m in masks if m is not None and m.any()]
    return sum(areas) / len(areas) if areas else 0.0


def outside(masks: Masks, bounds: tuple[float, float]) -> bool:
    return not bounds[0] <= mean_area(masks) <= bounds[1]


def score_video(
    truths: list[Truth], predictions: list[Prediction], threshold: float, bounds: tuple[float, float]
) -> tuple[list[tuple[float, str]], int]:
    """(score, "hit" | "miss" | "ignored") of each prediction of one class and video, and how many truths count."""
    ranked = sorted(predictions, key=lambda p: -p.score)[:100]
    ignore = [t.crowd or outside(t.masks, bounds) for t in truths]
    used: set[int] = set()
    verdicts = []
    for prediction in ranked:
        partner = None
        for wanted in (False, True):  # those that count come first
            for g, truth in enumerate(truths):
                overlap = iou(prediction.masks, truth.masks)
                if ignore[g] != wanted or overlap < threshold - 1e-9 or (g in used and not truth.crowd):
                    continue
                if partner is None or overlap >= iou(prediction.masks, truths[partner].masks):
                    partner = g
            if partner is not None:
                break
        if partner is None:
            verdict = "ignored" if outside(prediction.masks, bounds) else "miss"
        else:
            used.add(partner)
            verdict = "ignored" if ignore[partner] else "hit"
        verdicts.append((prediction.score, verdict))
    return verdicts, ignore.count(False)


def precision_recall(
    truths: list[Truth], predictions: list[Prediction], videos: int, *, threshold: float, area: int, most: int
) -> tuple[list[float], float] | None:
    """Precision at 101 recalls and the final recall of one class; None where nothing is to be found."""
    verdicts: list[tuple[float, str]] = []
    total = 0
    for video in range(1, videos + 1):
        mine = [t for t in truths if t.video == video], [p for p in predictions if p.video == video]
        of_video, count = score_video(*mine, threshold, RANGES[area])
        verdicts += of_video[:most]
        total += count
    if total == 0:
        return None
    verdicts.sort(key=lambda v: -v[0])
    hits = misses = 0
    points = []
    for _, verdict in verdicts:
        hits += verdict == "hit"
        misses += verdict == "miss"
        points.append((hits / total, hits / max(hits + misses, 1)))
    precision = [max((p for r, p in points if r >= i / 100 - 1e-12), default=0.0) for i in range(101)]
    return precision, hits / total


def metrics(truths: list[Truth], predictions: list[Prediction], *, videos: int, categories: list[int]) -> list[float]:
    """AP, AP50, AP75, APS, APM, APL, AR1, AR10, AR100, ARS, ARM, ARL."""
    table = {}
    for category in categories:
        mine = [t for t in truths if t.category == category], [p for p in predictions if p.category == category]
        for t, threshold in enumerate(THRESHOLDS):
            for area, most in [(0, 1), (0, 10), (0, 100), (1, 100), (2, 100), (3, 100)]:
                found = precision_recall(*mine, videos, threshold=threshold, area=area, most=most)
                if found is not None:
                    table[category, t, area, most] = found

    def mean(kind: int, area: int, most: int, only: int | None = None) -> float:
        chosen = [v for (_, t, a, m), v in table.items() if (a, m) == (area, most) and only in (None, t)]
        return float(np.mean([np.mean(v[kind]) for v in chosen])) if chosen else -1.0

    precisions = [mean(0, 0, 100), mean(0, 0, 100, 0), mean(0, 0, 100, 5), *(mean(0, a, 100) for a in (1, 2, 3))]
    return precisions + [mean(1, 0, most) for most in (1, 10, 100)] + [mean(1, a, 100) for a in (1, 2, 3)]
