"""Files of mmtracking, mmdet and torchvision: recognised, translated, taken as a start, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from official.masktrack_reference import stand_in_weights
from torch import Tensor
from torchvision.models.detection import maskrcnn_resnet50_fpn

from stmask.checkpoints import skeleton
from stmask.data.classes import YOUTUBE_VIS_2019, YOUTUBE_VIS_2021
from stmask.errors import CheckpointError
from stmask.models.layers import ResNet
from stmask.models.masktrack_rcnn import MaskTrackRCNN
from stmask.official import initialise
from stmask.official.datasets import COCO
from stmask.official.keys import to_official
from stmask.official.masktrack import MMDET, MaskTrackArchitecture
from stmask.official.translation import translate

R50, R101 = {"depth": 50, "groups": 1, "group_width": 64}, {"depth": 101, "groups": 1, "group_width": 64}
X101 = {"depth": 101, "groups": 64, "group_width": 4}
OLD_NAMES = {  # of torchvision's published files
    "backbone.fpn.inner_blocks.{}.0.": "backbone.fpn.inner_blocks.{}.",
    "backbone.fpn.layer_blocks.{}.0.": "backbone.fpn.layer_blocks.{}.",
    "roi_heads.mask_head.{}.0.": "roi_heads.mask_head.mask_fcn{}.",
}


def network(classes: int = 40) -> MaskTrackRCNN:
    return MaskTrackRCNN(backbone=ResNet(frozen_norm=True, train_scales=True, frozen_stages=1), num_classes=classes)


def saved(folder: Path, tensors: dict[str, Tensor], name: str = "given.pth") -> Path:
    torch.save({"meta": {}, "state_dict": tensors}, folder / name)
    return folder / name


@pytest.mark.parametrize("backbone", [R50, R101, X101], ids=["r50", "r101", "x101"])
@pytest.mark.parametrize("year", [2019, 2021])
def test_the_published_networks_are_recognised(backbone: dict[str, int], year: int) -> None:
    """By names and shapes; no values are needed."""
    found = MaskTrackArchitecture(**backbone, channels=256, hidden=1024, num_classes=40)
    empty = skeleton(found.model_config(), num_classes=40).state_dict()
    tensors = {str(to_official(name, MMDET)): torch.empty(v.shape, device="meta") for name, v in empty.items()}
    assert set(stand_in_weights()) == set(tensors) or backbone is not R50
    source = f"masktrack_rcnn_fpn_12e_youtubevis{year}.pth"
    imported = translate(tensors, source=source)
    assert imported.card.model == found.model_config()
    assert imported.weights.keys() == empty.keys()
    assert imported.card.class_names == (YOUTUBE_VIS_2021 if year == 2021 else YOUTUBE_VIS_2019)
    report = imported.report()
    assert "MaskTrack R-CNN of mmtracking" in report
    assert ("ResNeXt-101, 64 x 4d" in report) == (backbone is X101)
    assert f"used {len(tensors)} tensors" in report


@pytest.fixture(scope="module")
def coco() -> dict[str, Tensor]:
    """torchvision's Mask R-CNN with random weights, and statistics that are not those of a fresh norm."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    return {name: value + 0.5 if name.endswith("running_mean") else value for name, value in tensors.items()}


def with_old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = dict(tensors)
    for new, old in OLD_NAMES.items():
        for number in range(4):
            for kind in ("weight", "bias"):
                place = number + 1 if "mask_fcn" in old else number
                renamed[old.format(place) + kind] = renamed.pop(new.format(number) + kind)
    for kind in ("weight", "bias"):
        renamed[f"rpn.head.conv.{kind}"] = renamed.pop(f"rpn.head.conv.0.0.{kind}")
    return renamed


@pytest.mark.parametrize("old", [False, True])
def test_a_start_from_torchvision(old: bool, coco: dict[str, Tensor], tmp_path: Path) -> None:
    """With another number of classes everything but the class layers and the track head is taken."""
    model = network()
    path = saved(tmp_path, with_old_names(coco) if old else coco)
    report = initialise(model, path, class_names=YOUTUBE_VIS_2019)
    fresh = {name.rpartition(".")[0] for name in report.fresh if not name.endswith("num_batches_tracked")}
    assert fresh == {
        "heads.box.class_logits", "heads.box.box_deltas", "heads.mask.output.mask_fcn_logits", "heads.track.first",
        "heads.track.second",
    }  # fmt: skip
    assert report.unused == []
    assert report.has_backbone
    assert not report.mostly_fresh
    assert report.summary().endswith("% of the network's parameters taken)")
    reason = report.fresh["heads.box.class_logits.weight"]
    assert reason.startswith("for other classes in the file, ")
    state = model.state_dict()
    for ours, theirs in {
        "backbone.layer4.2.conv3.weight": "backbone.body.layer4.2.conv3.weight",
        "backbone.bn1.running_mean": "backbone.body.bn1.running_mean",
        "fpn.layer_blocks.3.0.weight": "backbone.fpn.layer_blocks.3.0.weight",
        "rpn.conv.0.0.weight": "rpn.head.conv.0.0.weight",
        "heads.box.layers.fc6.weight": "roi_heads.box_head.fc6.weight",
        "heads.mask.layers.3.0.bias": "roi_heads.mask_head.3.0.bias",
        "heads.mask.output.conv5_mask.weight": "roi_heads.mask_predictor.conv5_mask.weight",
    }.items():
        assert torch.equal(state[ours], coco[theirs]), ours


def test_classes_of_the_file_are_taken_by_name(coco: dict[str, Tensor], tmp_path: Path) -> None:
    """torchvision's rows are COCO's ids, of which ten have no class."""
    model = network(2)
    report = initialise(model, saved(tmp_path, coco), class_names=["toothbrush", "person"])
    assert "heads.box.class_logits.weight" in report.taken
    state, box = model.state_dict(), coco["roi_heads.box_predictor.bbox_pred.weight"]
    assert torch.equal(
        state["heads.box.class_logits.weight"], coco["roi_heads.box_predictor.cls_score.weight"][[0, 90, 1]]
    )
    assert torch.equal(state["heads.box.box_deltas.weight"], torch.cat([box[360:364], box[4:8]]))
    assert torch.equal(
        state["heads.mask.output.mask_fcn_logits.bias"],
        coco["roi_heads.mask_predictor.mask_fcn_logits.bias"][[90, 1]],
    )
    assert len(COCO) == 80


def test_a_start_from_mmdet(tmp_path: Path) -> None:
    """Its image networks' names lack `detector.`, and the track head."""
    tensors = {
        name.removeprefix("detector."): value for name, value in stand_in_weights().items() if "track_head" not in name
    }
    model = network()
    report = initialise(model, saved(tmp_path, tensors))
    assert {name.rpartition(".")[0] for name in report.fresh} == {"heads.track.first", "heads.track.second"}
    theirs = stand_in_weights()["detector.roi_head.bbox_head.fc_cls.bias"]
    assert torch.equal(model.state_dict()["heads.box.class_logits.bias"], theirs.roll(1))


def without(part: str) -> dict[str, Tensor]:
    return {name: value for name, value in stand_in_weights().items() if part not in name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            lambda: without("track_head"),
            r"is another network of mmdet than MaskTrack R-CNN and CondInst: it has no track_head.embed_head",
        ),
        (
            lambda: {**without("rpn_head"), "detector.bbox_head.sip_cof.weight": torch.zeros(4, 4, 3, 3)},
            r"is another network of mmdet .* its heads are bbox_head, roi_head",
        ),
        (
            lambda: {**without("track_head"), "track_head.fcs.0.weight": torch.zeros(4, 4)},
            "MaskTrack R-CNN of the authors' first code, whose boxes are a pixel wider",
        ),
        (lambda: without("layer3.5."), r"stages of \(3, 4, 5, 3\) blocks, known are ResNet-50 and -101"),
        (lambda: without("fc_reg"), "missing detector.roi_head.bbox_head.fc_reg.weight"),
        (
            lambda: {**stand_in_weights(), "detector.roi_head.mask_head.conv_logits.bias": torch.zeros(39)},
            r"conv_logits.bias is \(39,\), expected \(40,\)",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tensors: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        translate(tensors(), source="given.pth")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("given.pth")
