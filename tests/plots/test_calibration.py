"""What is drawn of anchors and sampling points is what the network does."""

from __future__ import annotations

import pytest
import torch

from stmask.data import VideoDataset
from stmask.models.layers.conv import SameConv2d
from stmask.models.stmask import STMask
from stmask.models.stmask.calibration import AlignedOffsets
from stmask.ops.boxes import iou, to_corners
from stmask.ops.frames import FramePreprocessor
from stmask.plots import anchors, calibration, places
from stmask.plots.frames import AnnotatedFrame, annotated_at, read_frame


@pytest.fixture(scope="module")
def frame(dataset: VideoDataset, preprocessor: FramePreprocessor) -> AnnotatedFrame:
    video, position = annotated_at(dataset)
    return read_frame(dataset, preprocessor, video=video, position=position)


def test_a_frame_has_its_boxes_relative_to_the_padded_input(frame: AnnotatedFrame) -> None:
    assert frame.input_size == (96, 96)
    assert frame.size == (72, 96)
    _, ys, xs = frame.masks[0][None].nonzero(as_tuple=True)
    expected = [xs.min() / 96, ys.min() / 64 * 0.75, (xs.max() + 1) / 96, (ys.max() + 1) / 64 * 0.75]
    assert frame.boxes[0].tolist() == pytest.approx([float(v) for v in expected], abs=1e-6)


def test_positives_are_anchors_of_the_network_that_decode_to_the_object(network: STMask, frame: AnnotatedFrame) -> None:
    found = anchors.positives(network, frame, object_=1, min_iou=0.3)
    assert [at.shape.kernel for at in found] == [(3, 3), (3, 5), (5, 3)]
    with torch.inference_mode():
        predictions = network(frame.inputs[None])
    for at in found:
        torch.testing.assert_close(at.anchor, predictions.anchors[at.index])
        torch.testing.assert_close(at.box, frame.boxes[1], atol=1e-5, rtol=0)
        torch.testing.assert_close(at.predicted(predictions).box_deltas, predictions.box_deltas[0, at.index])


def test_the_least_fitting_positive_is_chosen(network: STMask, frame: AnnotatedFrame) -> None:
    strict, lax = (anchors.positives(network, frame, min_iou=value) for value in (0.4, 0.2))
    for tight, loose in zip(strict, lax, strict=True):
        fits = [float(iou(to_corners(at.anchor)[None], frame.boxes[:1])) for at in (loose, tight)]
        assert fits[0] <= fits[1]


def test_points_without_calibration_are_the_kernels_cells(network: STMask, frame: AnnotatedFrame) -> None:
    for at in anchors.positives(network, frame):
        where = anchors.points(at, None)
        box = anchors.kernel_box(at.cell, at.shape.kernel, at.map_size)
        torch.testing.assert_close(box, to_corners(at.anchor), atol=1e-6, rtol=0)  # FCA
        torch.testing.assert_close(where.mean(dim=0), at.anchor[:2], atol=1e-6, rtol=0)
        assert len(where) == at.shape.kernel[0] * at.shape.kernel[1]


def test_aligned_points_are_spread_evenly_over_the_box(network: STMask, frame: AnnotatedFrame) -> None:
    for at in anchors.positives(network, frame):
        kh, kw = at.shape.kernel
        grid = anchors.points(at, AlignedOffsets(at.shape)).view(kh, kw, 2)
        x1, y1, x2, y2 = at.box.tolist()
        assert grid[0, 0].tolist() == pytest.approx([x1 + (x2 - x1) / kw / 2, y1 + (y2 - y1) / kh / 2], abs=1e-5)
        assert grid[-1, -1].tolist() == pytest.approx([x2 - (x2 - x1) / kw / 2, y2 - (y2 - y1) / kh / 2], abs=1e-5)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 5), (3, 2)])
def test_a_convolutions_receptive_field_is_its_kernel(kernel: tuple[int, int]) -> None:
    field = anchors.receptive_field(SameConv2d(4, 2, kernel), channels=4, map_size=(8, 10), cell=(4, 5))
    x1, y1, x2, y2 = (anchors.kernel_box((4, 5), kernel, (8, 10)) * torch.tensor([10, 8, 10, 8])).round().int().tolist()
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[y1:y2, x1:x2] = True
    assert torch.equal(field > 0, expected)
    assert field.max() == 1


def test_cell_under_the_centre_of_a_box() -> None:
    assert anchors.cell_under(torch.tensor([0.0, 0.0, 1.0, 1.0]), (4, 6)) == (2, 3)
    assert anchors.cell_under(torch.tensor([0.9, 0.9, 1.5, 1.5]), (4, 6)) == (3, 5)


def test_pictures(network: STMask, frame: AnnotatedFrame) -> None:
    found = anchors.positives(network, frame)
    learned = anchors.learned_offsets(network)
    assert len(learned) == 3
    assert anchors.learned_offsets(network, "mask") == []
    heads = places.heads("plain", "fca", "fca9")
    kernels = calibration.kernels(frame, heads, map_size=(12, 12), cell=(4, 5))
    assert [axis.get_title() for axis in kernels.axes[2:4]] == ["3x3 kernel, IoU 0.55", "3x3 kernel, IoU 1.00"]
    assert kernels.axes[6].get_title() == "3x3 kernel, IoU 1.00, 0.63, 0.40"
    assert [axis.get_title() for axis in calibration.sampling(frame, found, learned=learned).axes[:3]] == [
        "none", "ada", "ali"
    ]  # fmt: skip
    assert len(calibration.sampling(frame, found, learned=[]).axes) == 6
    steps = calibration.derivation(frame, found[1])
    grids = [axis.collections[0].get_offsets() for axis in steps.axes]
    assert len(grids[0]) == 15
    assert len(calibration.receptive_fields(frame, found).axes) == 9
