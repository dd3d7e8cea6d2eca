"""What SipMask++ adds for images: how good a mask is, judged by the mask alone. Re-created for videos."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, conv_relu

_CHANNELS = (1, 16, 16, 16, 32, 64, 128)
_SMALLEST = 2 ** len(_CHANNELS) - 1  # rows and columns that the layers need
_LEAST = 1e-3  # a score must not vanish: trackers take its logarithm
_STD = 0.001
_POOREST = 0.1  # IoU of masks below which nothing is learnt from them


class MaskRescorer(nn.Module):
    """Predicts the IoU of a mask with the object.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = [Conv2d(a, b, 3, stride=2) for a, b in pairwise(_CHANNELS)]
        self.layers = nn.ModuleList(layers)
        self.output = Conv2d(_CHANNELS[-1], num_classes, 1)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.output.weight, std=_STD)
        for layer in (*layers, self.output):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, masks: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (N, h, w) and classes (N,) in 1..K to IoUs (N,), not negative."""
        h, w = masks.shape[1:]
        x = F.pad(masks[:, None], (0, max(0, _SMALLEST - w), 0, max(0, _SMALLEST - h)))
        for layer in self.layers:
            x = conv_relu(layer, x)
        found: Tensor = conv_relu(self.output, x).amax(dim=(2, 3))  # (N, K)
        return found[torch.arange(len(found), device=found.device), labels - 1]

    def rescored(self, scores: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Scores (N,) times the IoUs."""
        ious: Tensor = self(masks, labels)
        return scores * ious.clamp(_LEAST, 1.0)


def iou_errors(rescorer: MaskRescorer, masks: Tensor, objects: Tensor, labels: Tensor, *, cells: int) -> Tensor:
    """Squared errors (M,) of the predicted IoUs, of those masks from which they are learnt.

    Args:
        masks: (P, h, w), probabilities.
        objects: (P, h, w) bool, what each mask should be.
        labels: (P,) in 1..K.
        cells: that an object must have.
    """
    found, areas = masks > 0.5, objects.flatten(1).sum(dim=1)
    overlap = (found & objects).flatten(1).sum(dim=1)
    ious = overlap / (found.flatten(1).sum(dim=1) + areas - overlap).clamp(min=1)
    learnt = (ious > _POOREST) & (areas >= cells)
    predicted: Tensor = rescorer(masks[learnt], labels[learnt])
    return (predicted - ious[learnt]).square()
