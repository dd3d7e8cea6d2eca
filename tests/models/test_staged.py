"""A model that is computed in stages gives what the model gives: by PyTorch, without an exporter between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from stmask.checkpoints import build_model
from stmask.config import compose, plain
from stmask.models import Exportable, Stage

SMALL = ["model/backbone=r18_small", "model.backbone.width=4", "model.channels=8", "model.num_prototypes=4"]
STMASK = ["model.head.embedding_dim=4", "model.detector.score_threshold=0.2", "model.tracker.score_threshold=0.0"]
TEMPORAL = ["model/temporal=p4_small", "model.temporal.size=3", "model.temporal.hidden=[8,8,8]"]
FRAMES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


class ByTorch:
    """A stage, as it would be after it was exported."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.inputs, self.outputs = list(stage.inputs), list(stage.outputs)

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        assert len(inputs) == len(self.inputs)
        return dict(zip(self.outputs, self._stage.function(*inputs), strict=True))


def model_of(*overrides: str) -> Exportable:
    cfg = compose("train", [*SMALL, *overrides])
    torch.manual_seed(0)
    model = build_model(plain(cfg.model), num_classes=3).eval()
    assert isinstance(model, Exportable)
    return model


@pytest.mark.parametrize(
    "overrides",
    [
        [*STMASK, *TEMPORAL],
        [*STMASK, *TEMPORAL, "model/head/align=ada_class", "model/head=fca9"],
        [*STMASK, *TEMPORAL, "model/head/align=ada", "model/head=fca_3x2"],
        [*STMASK, *TEMPORAL, "model/head/align=ali"],
        [*STMASK, *TEMPORAL, "model/head/align=ada_class_mask", "model/head=plain"],
        [*STMASK[:2], "model/temporal=none", "model/tracker=plain", "model/head=fca_3x2"],
        [*STMASK[1:], *TEMPORAL, "model.head.embedding_dim=0", "model.head.centerness=false"],
        ["model=yolact", "model.detector.score_threshold=0.2"],
    ],
)
@torch.inference_mode()
def test_detections_and_tracks_are_the_model_s(overrides: list[str]) -> None:
    model: Any = model_of(*overrides)
    staged: Any = model.by_stages({name: ByTorch(stage) for name, stage in model.stages(FRAMES).items()})
    trackers = model.tracker(), staged.tracker()
    for frames in (FRAMES, FRAMES[:1], FRAMES.flip(0)):
        for ours, theirs in zip(model.detect(frames), staged.detect(frames), strict=True):
            assert len(ours.instances) > 0
            a, b = (tracker.step(frame) for tracker, frame in zip(trackers, (ours, theirs)))
            assert a.track_ids.tolist() == b.track_ids.tolist()
            for name in ("boxes", "scores", "labels", "mask_coeffs", "embeddings"):
                torch.testing.assert_close(getattr(a.instances, name), getattr(b.instances, name), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(
                a.instances.masks.probabilities, b.instances.masks.probabilities, atol=1e-4, rtol=0
            )


def test_every_anchor_can_be_asked_for() -> None:
    """Those at the borders of their level too, in whatever frame."""
    model: Any = model_of(*STMASK, *TEMPORAL, "model/head=fca_3x2")
    with torch.inference_mode():
        staged = model.by_stages({name: ByTorch(stage) for name, stage in model.stages(FRAMES).items()})
        for ours, theirs in zip(*(one(FRAMES).branches.everywhere() for one in (model, staged)), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": None}, "no stage `network`"),
        ({"branches": None}, "`network` does not give mask_coeffs, embeddings"),
        ({"temporal": "branches"}, "`temporal` takes frames, anchors, towers, not reference, target, boxes"),
    ],
)
def test_stages_of_another_model_are_refused(change: Mapping[str, str | None], message: str) -> None:
    model: Any = model_of(*STMASK, *TEMPORAL)
    stages = {name: ByTorch(stage) for name, stage in model.stages(FRAMES).items()}
    changed = {name: stages[change.get(name, name) or ""] for name in stages if change.get(name, name)}
    with pytest.raises(ValueError, match=message):
        model.by_stages(changed)
