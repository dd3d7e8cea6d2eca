from __future__ import annotations

from itertools import permutations

import pytest
import torch
from stmask.inference.settings import InferenceSettings

from stmask.errors import ConfigError
from stmask.models.stmask.detector import Detector
from stmask.official.quirks import Around, ClassOnly, KernelsFirst, class_only_per_class, unlimited_across_classes
from stmask.ops.layout import anchors_last
from stmask.ops.nms import CrossClassNMS, PerClassNMS


def test_kernels_first_is_another_order_of_the_same_values() -> None:
    maps = [torch.arange(6.0).view(1, 1, 2, 3) + 10 * kernel for kernel in range(3)]
    released = KernelsFirst()(maps).flatten().tolist()
    assert released == [float(cell + 10 * kernel) for kernel in range(3) for cell in range(6)]
    clean = anchors_last(maps).flatten().tolist()
    assert clean == [float(cell + 10 * kernel) for cell in range(6) for kernel in range(3)]


def test_only_suppression_across_classes_is_unlimited() -> None:
    boxes = torch.arange(150)[:, None] + torch.tensor([0.0, 0.0, 0.5, 0.5])
    probabilities, quality = torch.linspace(0.9, 0.1, 150)[:, None], torch.ones(150)
    across = unlimited_across_classes(Detector(nms=CrossClassNMS()))
    assert len(across.nms(boxes, probabilities, quality).indices) == 150  # type: ignore[attr-defined]
    per_class = Detector(nms=PerClassNMS())
    assert unlimited_across_classes(per_class) is per_class


def test_centerness_is_left_out_only_per_class() -> None:
    boxes, probabilities = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.2, 0.6]])
    detector = class_only_per_class(Detector(nms=PerClassNMS()))
    kept = detector.nms(boxes, probabilities, torch.tensor([0.1]))  # type: ignore[attr-defined]
    torch.testing.assert_close(kept.scores, torch.tensor([0.6, 0.2]))
    across = Detector(nms=CrossClassNMS())
    assert class_only_per_class(across) is across


def test_the_order_of_the_wrappers_makes_no_difference() -> None:
    names = [
        f"stmask.official.quirks.{name}"
        for name in ("unlimited_across_classes", "class_only_per_class", "tanh_twice", "binary_masks")
    ]
    for kind, nms in (("cross_class", CrossClassNMS(max_detections=200)), ("per_class", ClassOnly(PerClassNMS()))):
        for wrappers in permutations(names):
            detector = InferenceSettings(nms=kind, detector_wrappers=wrappers).detector()
            steps = []
            while isinstance(detector, Around):
                steps += [name for name in ("before", "after") if getattr(detector, name)]
                detector = detector.detector
            assert sorted(steps) == ["after", "before"]
            assert isinstance(detector, Detector)
            assert isinstance(detector.nms, type(nms))
            assert getattr(detector.nms, "max_detections", None) == getattr(nms, "max_detections", None)


def test_suppression_behind_a_foreign_wrapper_is_refused_and_not_left_alone() -> None:
    with pytest.raises(ConfigError, match="must come first"):
        unlimited_across_classes(lambda predictions, index=0: Detector()(predictions, index))
