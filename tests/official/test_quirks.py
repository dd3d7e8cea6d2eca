from __future__ import annotations

import torch

from stmask.official.quirks import KernelsFirstHead, UnfusedDetector
from stmask.ops.layout import anchors_last
from stmask.ops.nms import CrossClassNMS, PerClassNMS


def test_kernels_first_is_another_order_of_the_same_values() -> None:
    maps = [torch.arange(6.0).view(1, 1, 2, 3) + 10 * kernel for kernel in range(3)]
    released = KernelsFirstHead.centerness_of(maps).flatten().tolist()
    assert released == [float(cell + 10 * kernel) for kernel in range(3) for cell in range(6)]
    clean = anchors_last(maps).flatten().tolist()
    assert clean == [float(cell + 10 * kernel) for cell in range(6) for kernel in range(3)]


def test_centerness_is_left_out_only_per_class() -> None:
    boxes, probabilities = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.2, 0.6]])
    arguments = (boxes, probabilities, torch.tensor([0.5]))
    per_class = UnfusedDetector(nms=PerClassNMS()).suppress(*arguments, score_threshold=0.05)
    torch.testing.assert_close(per_class.scores, torch.tensor([0.6, 0.2]))
    across = UnfusedDetector(nms=CrossClassNMS()).suppress(*arguments, score_threshold=0.05)
    torch.testing.assert_close(across.scores, torch.tensor([0.3]))
