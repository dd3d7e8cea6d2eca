"""Makes cases.json and expected.json beside this file: see README.md. Needs SciPy and a checkout of TrackEval.

python tests/evaluation/data/tracking/make.py FOLDER_OF_TRACKEVAL
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from stmask.evaluation import GroundTruth

HERE = Path(__file__).parent
HEIGHT, WIDTH, LENGTH = 24, 32, 10
GOLDEN = ("case1_basic", "case2_crowd_sizes", "case3_noisy")


def box(x: float, y: float, w: float = 8, h: float = 8) -> dict[str, Any] | None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[max(0, round(y)) : max(0, round(y + h)), max(0, round(x)) : max(0, round(x + w))] = 1
    if not mask.any():
        return None
    encoded = coco_mask.encode(mask)
    return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode("ascii")}


class Case:
    """Videos, annotations and results as they are added."""

    def __init__(self, name: str, *, classes: int = 1, videos: int = 1, min_score: float = 0.0) -> None:
        self.name, self.min_score = name, min_score
        categories = [{"id": k + 1, "name": f"c{k + 1}"} for k in range(classes)]
        self.truth = {
            "videos": [{"id": v + 1, "height": HEIGHT, "width": WIDTH, "length": LENGTH} for v in range(videos)],
            "categories": categories,
            "annotations": [],
        }
        self.results: list[dict[str, Any]] = []

    def annotate(self, masks: list[Any], *, video: int = 1, category: int = 1, crowd: int = 0) -> None:
        rows = self.truth["annotations"]
        entry = {"id": len(rows) + 1, "video_id": video, "category_id": category, "iscrowd": crowd}
        rows.append({**entry, "segmentations": masks})

    def predict(self, masks: list[Any], *, video: int = 1, category: int = 1, score: float = 0.9) -> None:
        self.results.append({"video_id": video, "category_id": category, "score": score, "segmentations": masks})


def moving(x: float, y: float, *, dx: float = 1, dy: float = 0, at: range = range(LENGTH), **size: float) -> list[Any]:
    return [box(x + dx * t, y + dy * t, **size) if t in at else None for t in range(LENGTH)]


def hand_made() -> list[Case]:
    perfect = Case("perfect")
    perfect.annotate(moving(1, 1))
    perfect.predict(moving(1, 1))

    switch = Case("two tracks that switch")
    one, two = moving(1, 1), moving(1, 13)
    switch.annotate(one)
    switch.annotate(two)
    switch.predict([*one[:5], *two[5:]])
    switch.predict([*two[:5], *one[5:]], score=0.8)

    split = Case("a track in three pieces, with gaps")
    split.annotate(moving(1, 8))
    for first, last in ((0, 3), (4, 6), (7, 10)):
        split.predict(moving(2, 8, at=range(first, last)), score=0.5 + first / 20)

    wrong = Case("false positives, misses, frames without anything", videos=2)
    wrong.annotate(moving(1, 1, at=range(2, 7)))
    wrong.annotate(moving(1, 14, at=range(5)))
    wrong.predict(moving(2, 2, at=range(3, 9)))
    wrong.predict(moving(20, 14, dx=0, at=range(8)))
    wrong.predict(moving(3, 3, at=range(4)), video=2)

    nothing = Case("a class and a video without annotations, others without predictions", classes=4, videos=3)
    nothing.annotate(moving(1, 1), category=1)
    nothing.annotate(moving(3, 10), video=2, category=2)
    nothing.predict(moving(1, 2), category=1)
    nothing.predict(moving(5, 5), video=3, category=3)

    unfound = Case("no predictions at all")
    unfound.annotate(moving(1, 1))

    crowd = Case("crowd regions that overlap", classes=2)
    crowd.annotate(moving(1, 1))
    crowd.annotate(moving(10, 8, dx=0, w=10, h=10), crowd=1)
    crowd.annotate(moving(14, 12, dx=0, w=14, h=12, at=range(2, 9)), crowd=1)
    crowd.predict(moving(1, 1, w=7))
    crowd.predict(moving(11, 9, dx=0.5), score=0.7)  # inside
    crowd.predict(moving(18, 12, dx=0, w=6), score=0.6)  # in the union of both
    crowd.predict(moving(24, 2, dx=0, h=16), score=0.5)  # partly
    crowd.predict(moving(11, 9, dx=0), category=2, score=0.5)  # of another class

    matched = Case("a match inside a crowd region")
    matched.annotate(moving(8, 8, dx=0))
    matched.annotate(moving(4, 4, dx=0, w=16, h=16), crowd=1)
    matched.predict(moving(9, 8, dx=0))
    matched.predict(moving(8, 9, dx=0), score=0.8)

    ties = Case("equal overlaps")
    ties.annotate(moving(4, 4, dx=0))
    ties.annotate(moving(12, 4, dx=0))
    ties.predict(moving(8, 4, dx=0))
    ties.predict(moving(8, 4, dx=0), score=0.9)
    ties.predict(moving(4, 8, dx=0), score=0.3)

    return [perfect, switch, split, wrong, nothing, unfound, crowd, matched, ties]


def drawn(name: str, seed: int, *, crowds: bool, min_score: float = 0.0, tracks: int = 4) -> Case:
    """Random boxes, followed with jitter, gaps, swapped identities, doubles and inventions."""
    draw = np.random.default_rng(seed)
    case = Case(name, classes=3, videos=3, min_score=min_score)
    for video in (1, 2, 3):
        paths = []
        for _ in range(tracks):
            x, y, dx, dy = draw.uniform([0, 0, -1, -1], [22, 14, 1, 1])
            w, h = draw.uniform(5, 12, 2)
            category = int(draw.integers(1, 4))
            present = draw.random(LENGTH) < 0.85
            masks = moving(x, y, dx=dx, dy=dy, w=w, h=h)
            case.annotate(
                [m if p else None for m, p in zip(masks, present)],
                video=video,
                category=category,
                crowd=int(crowds and draw.random() < 0.3),
            )
            paths.append((x, y, dx, dy, w, h, category))
        for _ in range(2 * tracks):
            first, second = draw.integers(0, tracks, 2)
            change = int(draw.integers(0, LENGTH + 1))
            masks = []
            for t in range(LENGTH):
                x, y, dx, dy, w, h, _ = paths[first if t < change else second]
                jitter = draw.normal(0, 1.2, 4)
                seen = draw.random() < 0.8
                masks.append(
                    box(x + dx * t + jitter[0], y + dy * t + jitter[1], w + jitter[2], h + jitter[3]) if seen else None
                )
            category = paths[first][-1] if draw.random() < 0.85 else int(draw.integers(1, 4))
            case.predict(masks, video=video, category=category, score=round(float(draw.random()), 3))
    return case


def oracle(truth: GroundTruth, results: list[dict[str, Any]], min_score: float) -> dict[str, dict[str, float]]:
    """TrackEval's numbers: its preprocessing for MOTS, its metrics, its ways to combine videos and classes."""
    from trackeval.datasets import MOTSChallenge
    from trackeval.metrics import CLEAR, HOTA, Identity

    metrics = {"HOTA": HOTA(), "CLEAR": CLEAR({"PRINT_CONFIG": False}), "Identity": Identity({"PRINT_CONFIG": False})}
    dataset = MOTSChallenge.__new__(MOTSChallenge)
    dataset.class_name_to_class_id = {"pedestrian": "2", "ignore": "10"}
    per_class: dict[str, dict[str, Any]] = {name: {} for name in metrics}
    for category in sorted(truth.categories, key=lambda one: one.id):
        per_video: dict[str, dict[int, Any]] = {name: {} for name in metrics}
        for video in truth.videos.values():
            mine = [(i, one) for i, one in enumerate(results) if one["score"] >= min_score]
            mine = [(i, one) for i, one in mine if (one["video_id"], one["category_id"]) == (video.id, category.id)]
            theirs = [t for t in truth.tracks or () if (t.video_id, t.category_id) == (video.id, category.id)]
            raw: dict[str, Any] = {"num_timesteps": video.length, "seq": str(video.id), "gt_ignore_region": []}
            keys = ("gt_ids", "gt_classes", "gt_dets", "tracker_ids", "tracker_classes", "tracker_dets")
            raw |= {key: [] for key in (*keys, "similarity_scores")}
            for t in range(video.length):
                there = [one for one in theirs if one.segmentations[t]]
                given = [(i, one) for i, one in mine if one["segmentations"][t]]
                crowds = [one.segmentations[t] for one in there if one.is_crowd]
                there = [one for one in there if not one.is_crowd]
                raw["gt_ignore_region"].append(coco_mask.merge(crowds, intersect=False))
                raw["gt_ids"].append(np.array([one.id for one in there], dtype=int))
                raw["gt_classes"].append(np.full(len(there), 2))
                raw["gt_dets"].append([one.segmentations[t] for one in there])
                raw["tracker_ids"].append(np.array([i for i, _ in given], dtype=int))
                raw["tracker_classes"].append(np.full(len(given), 2))
                raw["tracker_dets"].append([one["segmentations"][t] for _, one in given])
                raw["similarity_scores"].append(
                    dataset._calculate_similarities(raw["gt_dets"][t], raw["tracker_dets"][t])
                )
            data = dataset.get_preprocessed_seq_data(raw, "pedestrian")
            for name, metric in metrics.items():
                per_video[name][video.id] = metric.eval_sequence(data)
        for name, metric in metrics.items():
            per_class[name][category.name] = metric.combine_sequences(per_video[name])
    combined = {name: metric.combine_classes_det_averaged(per_class[name]) for name, metric in metrics.items()}
    found = {"all": values(combined)}
    if any(row["HOTA_TP"].any() or row["HOTA_FN"].any() or row["HOTA_FP"].any() for row in per_class["HOTA"].values()):
        mean = {
            name: metric.combine_classes_class_averaged(per_class[name], ignore_empty_classes=True)
            for name, metric in metrics.items()
        }
        found["class mean"] = values(mean, counts=False)
    for category in truth.categories:
        found[f"class {category.name}"] = values({name: per_class[name][category.name] for name in metrics})
    return found


def values(rows: dict[str, Any], *, counts: bool = True) -> dict[str, float]:
    """Under our names."""
    hota, clear, identity = rows["HOTA"], rows["CLEAR"], rows["Identity"]
    names = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")
    found = {name: float(np.mean(hota[name])) for name in names}
    names_of_clear = {"MOTSA": "MOTA", "MOTSP": "MOTP", "sMOTSA": "sMOTA", "recall": "CLR_Re", "precision": "CLR_Pr"}
    found |= {name: float(clear[theirs]) for name, theirs in names_of_clear.items()}
    found |= {name: float(identity[name]) for name in ("IDF1", "IDR", "IDP")}
    if counts:
        found |= {name: int(clear[f"CLR_{name}"]) for name in ("TP", "FP", "FN")}
        found |= {name: int(clear[name]) for name in ("IDSW", "Frag", "MT", "PT", "ML")}
        found |= {name: int(identity[name]) for name in ("IDTP", "IDFP", "IDFN")}
    return found


def main() -> None:
    lost = {"float": float, "int": int}  # names that TrackEval uses and NumPy has no more
    for name, kind in lost.items():
        setattr(np, name, kind)
    sys.path.insert(0, sys.argv[1])
    cases = hand_made()
    cases += [drawn(f"drawn {seed}", seed, crowds=seed % 2 == 1, tracks=3 + seed) for seed in range(4)]
    cases += [drawn("drawn, by score", 7, crowds=True, min_score=0.4)]
    stored = [
        {"name": case.name, "min_score": case.min_score, "ground_truth": case.truth, "results": case.results}
        for case in cases
    ]
    expected = {case.name: oracle(GroundTruth.from_dict(case.truth), case.results, case.min_score) for case in cases}
    for name in GOLDEN:
        folder = HERE.parent / name
        results = json.loads((folder / "results.json").read_text())
        expected[name] = oracle(GroundTruth.load(folder / "gt.json"), results, 0.0)
    (HERE / "cases.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
