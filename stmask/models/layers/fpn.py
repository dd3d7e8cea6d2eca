"""Feature pyramid P3 .. P7."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, conv_relu
from stmask.number_checks import require_integer

LEVELS = ("P3", "P4", "P5", "P6", "P7")
"""Names of the pyramid's levels, from stride 8 to 128."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Feature maps of the FPN, addressed by name ("P3" .. "P7"), finest first. Each is (B, C, h, w)."""

    levels: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.levels[name]
        except KeyError:
            raise KeyError(f"no level {name!r} in the pyramid, it has {', '.join(self.levels)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)


class FPN(nn.Module):
    """Top-down pyramid over C3, C4, C5, and two strided convolutions on top for P6 and P7.

    Args:
        in_channels: channels of C3, C4 and C5 by name.
        channels: channels of every level.
    """

    def __init__(self, *, in_channels: Mapping[str, int], channels: int = 256) -> None:
        super().__init__()
        require_integer(channels=channels)
        self.channels = channels
        self.lateral = nn.ModuleDict({name: Conv2d(in_channels[name], channels, 1) for name in ("C3", "C4", "C5")})
        self.output = nn.ModuleDict({name: Conv2d(channels, channels, 3, padding=1) for name in ("P3", "P4", "P5")})
        self.down = nn.ModuleDict({name: Conv2d(channels, channels, 3, stride=2, padding=1) for name in ("P6", "P7")})

    def forward(self, maps: Mapping[str, Tensor]) -> Pyramid:
        """{"C3": (B, C, h, w), ..} to the pyramid; P3 .. P5 are after a ReLU, P6 and P7 are not."""
        total = self.lateral["C5"](maps["C5"])
        levels = {"P5": conv_relu(self.output["P5"], total)}
        for fine, name in (("C4", "P4"), ("C3", "P3")):
            lateral = self.lateral[fine](maps[fine])
            total = lateral + F.interpolate(total, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            levels[name] = conv_relu(self.output[name], total)
        levels["P6"] = self.down["P6"](levels["P5"])
        levels["P7"] = self.down["P7"](levels["P6"])
        return Pyramid({name: levels[name] for name in LEVELS})
