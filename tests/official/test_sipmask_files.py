"""Files of SipMask's authors: recognised, translated, taken as a start, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from official.masktrack_reference import stand_in_weights as masktrack_weights
from official.sipmask_reference import SIZE, stand_in_weights
from torch import Tensor

from stmask.data.classes import YOUTUBE_VIS_2019
from stmask.errors import CheckpointError
from stmask.loading import load
from stmask.models.layers import ResNet
from stmask.models.masktrack_rcnn import MaskTrackRCNN
from stmask.models.sipmask import SipMask
from stmask.official import initialise
from stmask.official.datasets import COCO
from stmask.official.sipmask import SIPMASK_INPUT
from stmask.official.translation import translate
from stmask.ops.frames import FramePreprocessor

NAME = "sipmask_r50_youtubevis2019.pth"


def network(**changes: Any) -> SipMask:
    return SipMask(backbone=ResNet(frozen_norm=True, frozen_stages=1, stride_in_1x1=True, **changes), num_classes=40)


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"meta": {}, "state_dict": tensors}, folder / NAME)
    return folder / NAME


def image_network() -> dict[str, Tensor]:
    """SipMask of COCO, by its names: it has 80 classes and does not track."""
    kept = {name: value for name, value in stand_in_weights().items() if "track" not in name}
    for kind in ("weight", "bias"):
        rows = kept[f"bbox_head.fcos_cls.{kind}"]
        kept[f"bbox_head.fcos_cls.{kind}"] = torch.cat([rows, rows + 1])
    return kept


def test_the_released_network_is_recognised(tmp_path: Path) -> None:
    tensors = stand_in_weights()
    imported = translate(tensors, source=NAME)
    assert imported.card.class_names == YOUTUBE_VIS_2019
    assert imported.card.preprocessor == SIPMASK_INPUT
    assert not imported.dropped
    assert not imported.filled
    report = imported.report()
    assert "SipMask of its authors, for videos" in report
    assert f"used {len(tensors)} tensors" in report
    model = load(saved(tmp_path, tensors))
    state = model.state_dict()
    assert torch.equal(state["backbone.conv1.weight"], tensors["backbone.conv1.weight"].flip(1))  # blue came first
    for ours, theirs in {
        "fpn.layer_blocks.2.0.weight": "neck.fpn_convs.2.conv.weight",
        "fpn.extra_blocks.p6.weight": "neck.fpn_convs.3.conv.weight",
        "fpn.extra_blocks.p7.bias": "neck.fpn_convs.4.conv.bias",
        "head.hidden.weight": "bbox_head.sip_mask_lat0.weight",
        "head.prototypes.weight": "bbox_head.sip_mask_lat.weight",
        "head.align.weight": "bbox_head.feat_align.conv_adaption.weight",
        "head.scales.4.scale": "bbox_head.scales.4.scale",
    }.items():
        assert torch.equal(state[ours], tensors[theirs]), ours


def test_a_start_from_the_image_network(tmp_path: Path) -> None:
    model, tensors = network(), image_network()
    report = initialise(model, saved(tmp_path, tensors), class_names=("person", "zebra") * 20)
    fresh = {name for name in report.fresh if "num_batches" not in name}
    assert {name.rsplit(".", 1)[0] for name in fresh} == {
        "head.track", "head.track_tower.0.conv", "head.track_tower.0.norm", "head.track_tower.1.conv",
        "head.track_tower.1.norm",
    }  # fmt: skip
    rows = tensors["bbox_head.fcos_cls.weight"][[COCO.index("person"), COCO.index("zebra")] * 20]
    assert torch.equal(model.state_dict()["head.class_logits.weight"], rows)
    assert report.unused == []


@torch.no_grad()
def test_a_start_on_frames_that_are_normalised_otherwise(tmp_path: Path) -> None:
    """The first convolution is changed: the features are the same, but for those that read beyond the image."""
    path, ours = saved(tmp_path, stand_in_weights()), FramePreprocessor(height=180, width=320)
    image = torch.randint(0, 256, (180, 320, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    features = []
    for frames in (SIZE, ours):
        model = network().eval()
        report = initialise(model, path, class_names=YOUTUBE_VIS_2019, preprocessor=frames)
        assert list(report.changed) == (
            [] if frames is SIZE else ["backbone.conv1.weight", "backbone.bn1.running_mean"]
        )
        stem = model.backbone.bn1(model.backbone.conv1(frames(image)[None])).relu()
        features.append(stem[..., 4:80, 4:150])
    torch.testing.assert_close(features[0], features[1], rtol=1e-3, atol=1e-3)
    assert features[0].max() > 1


def test_a_network_without_batch_norms_needs_their_frames(tmp_path: Path) -> None:
    model = SipMask(backbone=ResNet(norm="group", stride_in_1x1=True), num_classes=40)
    tensors = {name: value for name, value in stand_in_weights().items() if "running" not in name}
    with pytest.raises(CheckpointError, match=r"give data.preprocessor.mean=\[122.7717, 115.9465, 102.9801\]"):
        initialise(model, saved(tmp_path, tensors), preprocessor=FramePreprocessor())


@pytest.mark.parametrize("start", ["sipmask", "masktrack"])
def test_strides_in_other_convolutions_are_refused(start: str, tmp_path: Path) -> None:
    if start == "sipmask":
        model: Any = SipMask(backbone=ResNet(frozen_norm=True), num_classes=40)
        path, own, theirs = saved(tmp_path, stand_in_weights()), "false", "true"
    else:
        model, path, own, theirs = network(), saved(tmp_path, masktrack_weights()), "true", "false"
    with pytest.raises(CheckpointError, match=f"stride_in_1x1={theirs}, this network of {own}"):
        initialise(model, path)


def test_a_file_of_another_system_is_refused(tmp_path: Path) -> None:
    """MaskTrack R-CNN takes the backbone of SipMask only where it reads the same pixels."""
    model = MaskTrackRCNN(backbone=ResNet(frozen_norm=True), num_classes=40)
    with pytest.raises(CheckpointError, match="they would read other pixels"):
        initialise(model, saved(tmp_path, stand_in_weights()))


def without(part: str) -> dict[str, Tensor]:
    return {name: value for name, value in stand_in_weights().items() if part not in name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (image_network, "is SipMask's image network, without bbox_head.sipmask_track.weight, which tracks"),
        (lambda: without("layer3.5."), r"stages of \(3, 4, 5, 3\) blocks, known are ResNet-50 and -101"),
        (lambda: without("sip_mask_lat."), "missing bbox_head.sip_mask_lat.weight"),
        (lambda: without(".gn."), "missing bbox_head.cls_convs.0.gn.weight"),
        (
            lambda: {**stand_in_weights(), "bbox_head.mask_scoring.weight": torch.zeros(40, 128, 1, 1)},
            "unexpected bbox_head.mask_scoring.weight",
        ),
        (
            lambda: {**stand_in_weights(), "bbox_head.fcos_cls.bias": torch.zeros(39)},
            r"fcos_cls.bias is \(39,\), expected \(40,\)",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tensors: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        translate(tensors(), source=NAME)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(NAME)
