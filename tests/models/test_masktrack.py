from __future__ import annotations

import pytest
import torch

from stmask.models.layers import ResNet
from stmask.models.masktrack_rcnn import MaskTrackRCNN
from stmask.structures.clip import Clip, empty_targets


def network() -> MaskTrackRCNN:
    torch.manual_seed(0)
    backbone = ResNet(depth=18, width=16, norm="group")
    return MaskTrackRCNN(backbone=backbone, num_classes=3, channels=16, hidden=16)


def test_every_weight_has_a_gradient_where_nothing_is_annotated() -> None:
    """Distributed training wants that."""
    model, nothing = network(), empty_targets(64, 96)
    clip = Clip(
        frames=torch.randn(2, 2, 3, 64, 96),
        image_sizes=torch.tensor([64, 96]).expand(2, 2, 2),
        targets=((nothing, nothing),) * 2,
        video_ids=torch.zeros(2, dtype=torch.int64),
        frame_indices=torch.zeros(2, 2, dtype=torch.int64),
    )
    report = model.losses(clip, generator=torch.Generator().manual_seed(0))
    report.total.backward()
    assert {name: value.item() for name, value in report.terms.items() if name not in ("objectness", "class")} == {
        "proposal": 0, "box": 0, "mask": 0, "track": 0,
    }  # fmt: skip
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@torch.no_grad()
def test_frames_that_are_nan_show_nothing() -> None:
    (frame,) = network().eval().detect(torch.full((1, 3, 64, 96), torch.nan))
    assert len(frame.instances) == 0


@torch.no_grad()
def test_no_box_reaches_into_the_padding() -> None:
    frames = torch.randn(2, 3, 64, 96)
    for frame in network().eval().detect_within(frames, image_size=(40, 80)):
        assert len(frame.instances) > 0
        assert float(frame.instances.boxes[:, 3].max()) <= 40 / 64
        assert float(frame.instances.boxes[:, 2].max()) <= 80 / 96 + 1e-6


def test_a_backbone_without_the_finest_map_is_refused() -> None:
    backbone = ResNet(depth=18, width=16, norm="group")
    del backbone.out_channels["C2"]
    with pytest.raises(ValueError, match="needs the maps C2 .. C5, this backbone does not give C2"):
        MaskTrackRCNN(backbone=backbone, num_classes=3)
