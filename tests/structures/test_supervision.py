"""`TrackedFrame.to_supervision`, with the package where it is installed, and what it is given where not."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stmask.errors import ConfigError
from stmask.structures import DenseMasks, Instances, Placement, TrackedFrame


def tracked(n: int = 2) -> TrackedFrame:
    """In an input of 8 x 8 whose right half is padding: the upper half of the image, and the lower one."""
    maps = torch.zeros(2, 8, 8)
    maps[0, :4] = maps[1, 4:] = 1
    found = Instances(
        boxes=torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.25, 0.5, 1.0]])[:n],  # not those of the masks
        scores=torch.tensor([0.75, 0.5])[:n],
        labels=torch.tensor([3, 1])[:n],
        masks=DenseMasks(maps[:n]),
    )
    return TrackedFrame(0, found, torch.tensor([4, 0])[:n], torch.tensor([False, True])[:n], Placement((8, 4), (8, 8)))


def check(detections: Any) -> None:
    assert detections.xyxy.tolist() == [[0, 0, 10, 8], [0, 8, 10, 16]]
    assert (detections.xyxy.dtype, detections.mask.dtype) == (np.float32, np.bool_)
    assert detections.mask.shape == (2, 16, 10)
    assert detections.mask[0, :8].all()
    assert not detections.mask[0, 8:].any()
    assert detections.confidence.tolist() == [0.75, 0.5]
    assert detections.class_id.tolist() == [2, 0]
    assert detections.tracker_id.tolist() == [4, 0]
    assert detections.data["class_name"].tolist() == ["dog", "person"]
    assert detections.data["supplemented"].tolist() == [False, True]


def test_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    check(tracked().to_supervision((16, 10), class_names=("person", "cat", "dog")))
    empty = tracked(0).to_supervision((16, 10))
    assert (empty.xyxy.shape, empty.mask.shape, empty.tracker_id.shape) == ((0, 4), (0, 16, 10), (0,))
    assert "class_name" not in empty.data


def test_what_is_not_seen_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    frame = tracked()
    unseen = replace(
        frame.instances, masks=DenseMasks(frame.instances.masks.probabilities * torch.eye(2)[0, :, None, None])
    )
    found = replace(frame, instances=unseen).to_supervision((16, 10))
    assert (found.tracker_id.tolist(), found.xyxy.tolist()) == ([4], [[0, 0, 10, 8]])


def test_the_package_takes_it() -> None:
    sv = pytest.importorskip("supervision")
    detections = tracked().to_supervision((16, 10), class_names=("person", "cat", "dog"))
    assert isinstance(detections, sv.Detections)
    check(detections)
    assert len(detections[detections.confidence > 0.6]) == 1
    empty = tracked(0).to_supervision((16, 10), class_names=("person",))
    assert len(empty) == 0
    drawn = sv.MaskAnnotator(opacity=1.0).annotate(np.zeros((16, 10, 3), np.uint8), detections)
    assert drawn.any(axis=2).all()
    assert not sv.MaskAnnotator().annotate(np.zeros((16, 10, 3), np.uint8), empty).any()


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match=r"to_supervision needs supervision.*pip install 'stmask\[supervision\]'"):
        tracked().to_supervision((16, 10))
