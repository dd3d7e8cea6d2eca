"""YOLACT's files against its formulas, computed here as its head does: one convolution for all anchors."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.errors import CheckpointError
from stmask.inference import VideoSegmenter
from stmask.models.layers import ResNet
from stmask.models.stmask import PredictionHead, STMask
from stmask.models.yolact import Yolact, anchor_shapes
from stmask.official import load, read
from stmask.official.translation import export, to_official_state
from stmask.ops.nms import PerClassNMS

CLASSES, PROTOTYPES, CHANNELS = 80, 5, 4


def yolact_tensors(anchors: int) -> dict[str, Tensor]:
    """A small YOLACT: STMask's tensors below the head, and YOLACT's head."""
    torch.manual_seed(0)
    body = STMask(
        backbone=ResNet(depth=18, dcn_interval=1 if anchors == 9 else 0),
        num_classes=CLASSES,
        channels=CHANNELS,
        num_prototypes=PROTOTYPES,
        head=lambda **shared: PredictionHead(**shared, embedding_dim=0),
    )
    below = ("backbone.", "fpn.", "proto_net.", "prediction_layers.0.upfeature.")
    tensors = {name: value for name, value in to_official_state(body).items() if name.startswith(below)}
    for branch, values in (("bbox", 4), ("conf", CLASSES + 1), ("mask", PROTOTYPES)):
        tensors[f"prediction_layers.0.{branch}_layer.weight"] = torch.randn(anchors * values, CHANNELS, 3, 3)
        tensors[f"prediction_layers.0.{branch}_layer.bias"] = torch.randn(anchors * values)
    tensors["semantic_seg_conv.weight"] = torch.zeros(CLASSES, CHANNELS, 1, 1)
    if anchors == 9:
        tensors["maskiou_net.0.weight"] = torch.zeros(8, 1, 3, 3)
    return tensors


def saved(folder: Path, tensors: dict[str, Tensor], name: str = "yolact_base_54.pth") -> Path:
    torch.save(tensors, folder / name)
    return folder / name


@pytest.mark.parametrize("anchors", [3, 9])
def test_outputs_have_the_order_of_the_joint_convolution(anchors: int, tmp_path: Path) -> None:
    tensors = yolact_tensors(anchors)
    model = load(saved(tmp_path, tensors))
    frames = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        got = model(frames)
        mask_coeffs, embeddings = got.branches.everywhere()
        pyramid = model.fpn(model.backbone(frames))
        for branch, values, ours in (
            ("bbox", 4, got.box_deltas),
            ("conf", CLASSES + 1, got.class_logits),
            ("mask", PROTOTYPES, mask_coeffs),
        ):
            outputs = []
            for name in pyramid:
                weights = (tensors[f"prediction_layers.0.{branch}_layer.{kind}"] for kind in ("weight", "bias"))
                joint = F.conv2d(model.head.tower(pyramid[name]), *weights, padding=1)
                outputs.append(joint.permute(0, 2, 3, 1).reshape(1, -1, values))
            torch.testing.assert_close(ours, torch.cat(outputs, dim=1))
    assert got.centerness is None
    torch.testing.assert_close(embeddings, F.normalize(mask_coeffs, dim=-1))


@pytest.mark.parametrize(
    ("name", "side", "scales"),
    [
        ("yolact_base_54.pth", 550, [24, 48, 96, 192, 384]),
        ("yolact_im700_54.pth", 700, [30, 61, 122, 244, 488]),
    ],
)
def test_anchors_of_yolact_are_squares_of_so_many_pixels(
    name: str, side: int, scales: list[int], tmp_path: Path
) -> None:
    model = load(saved(tmp_path, yolact_tensors(3), name))
    assert (model.card.preprocessor.height, model.card.preprocessor.padded_size) == (side, (side, side))
    with torch.no_grad():
        anchors = model(torch.zeros(1, 3, 96, 160)).anchors
    wanted = [
        ((x + 0.5) / w, (y + 0.5) / h, scale * math.sqrt(ratio) / side, scale * math.sqrt(ratio) / side)
        for scale, (h, w) in zip(scales, [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)], strict=True)
        for y, x in product(range(h), range(w))
        for ratio in (1, 1 / 2, 2)
    ]
    torch.testing.assert_close(anchors, torch.tensor(wanted))


def test_anchors_of_yolact_plus() -> None:
    wanted = [
        [2 ** (j / 3) / math.sqrt(ratio), 2 ** (j / 3) * math.sqrt(ratio)] for j in range(3) for ratio in (1, 1 / 2, 2)
    ]
    torch.testing.assert_close(torch.tensor(anchor_shapes(9)), torch.tensor(wanted))


def test_what_is_recognised_and_dropped(tmp_path: Path) -> None:
    imported = read(saved(tmp_path, yolact_tensors(9), "yolact_plus_base_54.pth"))
    assert "network: YOLACT++, an image model" in imported.report()
    assert "backbone: ResNet-18, deformable at interval 1" in imported.report()
    assert set(imported.dropped) == {"semantic_seg_conv.weight", "maskiou_net.0.weight"}
    assert imported.card.class_names[-1] == "toothbrush"
    model = imported.model()
    assert isinstance(model, Yolact)
    assert model.detector.nms == PerClassNMS()


def test_it_segments_a_video(tmp_path: Path) -> None:
    model = load(saved(tmp_path, yolact_tensors(3)))
    segmenter = VideoSegmenter(model)
    frame = torch.randint(0, 255, (60, 80, 3), dtype=torch.uint8)
    first, second = segmenter.step(frame), segmenter.step(frame)
    assert len(first) > 0
    assert first.track_ids.tolist() == second.track_ids.tolist()


def test_another_number_of_anchors_is_refused(tmp_path: Path) -> None:
    tensors = yolact_tensors(3)
    tensors["prediction_layers.0.bbox_layer.weight"] = torch.zeros(20, CHANNELS, 3, 3)
    with pytest.raises(CheckpointError, match="5 anchors of each cell"):
        load(saved(tmp_path, tensors))


def test_it_is_not_exported_as_stmask(tmp_path: Path) -> None:
    model = load(saved(tmp_path, yolact_tensors(3)))
    with pytest.raises(CheckpointError, match="other tensors"):
        export(model, tmp_path / "out.pth")
