"""A checkpoint that the first version of the format wrote, and what that version found in three frames with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import stmask
from stmask.checkpoints import format1
from stmask.checkpoints.format import ENTRY
from stmask.checkpoints.registry import names_of
from stmask.errors import ConfigError
from stmask.models.stmask import TemporalTracker
from stmask.ops.nms import PerClassNMS

FILE = Path(__file__).parent / "data" / "format1.ckpt"
FOUND = json.loads(FILE.with_suffix(".json").read_text())


def test_it_gives_the_tracks_that_it_gave() -> None:
    segmenter = stmask.load_segmenter(FILE)
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 80, 3), dtype=np.uint8)
    for frame, wanted in zip(frames, FOUND, strict=True):
        tracked = segmenter.step(frame)
        assert tracked.track_ids.tolist() == wanted["track_ids"]
        assert tracked.instances.labels.tolist() == wanted["labels"]
        assert tracked.instances.scores.tolist() == pytest.approx(wanted["scores"], abs=1e-5)
        pixels = tracked.masks_at((48, 80)).flatten(1).sum(1).tolist()
        assert pixels == pytest.approx(wanted["pixels"], abs=2)  # of thousands, where rounding differs


def test_its_settings_are_the_model_s() -> None:
    model = stmask.load(FILE)
    assert model.detector.score_threshold == 0.22
    assert model.detector.nms == PerClassNMS(iou_threshold=0.4, max_detections=7)
    assert isinstance(model.tracker(), TemporalTracker)
    assert model.card.model["tracker"]["forget_after"] is None
    changed = stmask.load(FILE, model={"tracker": {"forget_after": 40}, "detector": {"score_threshold": 0.5}})
    assert (changed.card.model["tracker"]["forget_after"], changed.detector.score_threshold) == (40, 0.5)


def test_it_is_written_again_in_the_format_of_today(tmp_path: Path) -> None:
    model = stmask.load(FILE)
    stmask.checkpoints.save_model(tmp_path / "new.ckpt", model, model.card)
    assert torch.load(tmp_path / "new.ckpt", weights_only=True)[ENTRY]["format"] == 2
    assert stmask.load(tmp_path / "new.ckpt").card == model.card


def test_every_class_that_moved_is_registered_under_its_new_name() -> None:
    assert set(format1.MOVED.values()) <= set(names_of("model"))


def test_a_key_that_never_was_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key card\.inference\.nmss"):
        format1.upgraded({"model": {}, "inference": {"nmss": "per_class"}})
