"""Stand-in weights for SipMask, and the stored numbers of its authors' code: see data/sipmask/README.md."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from official.reference import DATA as ALL_DATA
from official.reference import first_of
from torch import Tensor

from stmask.official.translation import translate
from stmask.ops.frames import FramePreprocessor
from stmask.structures import Clip, FrameTargets

DATA = ALL_DATA / "sipmask"
SCORE_THRESHOLD = 0.1975  # in a gap between scores, so that some frames have more and some fewer detections
SIZE = FramePreprocessor(height=180, width=320, mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0))

# (pattern, factor of the standard deviation), the first that fits
_GAINS = (
    (r"backbone\.conv1\.", 1 / 58),  # frames are not divided by their standard deviation
    (r"lateral_convs\.", 0.5),
    (r"fcos_reg\.", 0.8),
    (r"conv_offset\.", 0.3),
    (r"fcos_cls\.", 1.5),
    (r"sipmask_track\.", 0.08),
)
_OFFSETS = ((r"fcos_reg\.", 2.5), (r"fcos_cls\.", -5.0), (r"centerness\.", 1.0), (r"scales\.", 1.0))


@cache
def stand_in_weights() -> dict[str, Tensor]:
    """All tensors by the authors' names, each drawn from a generator seeded by its name; read only."""
    shapes = json.loads((DATA / "keys.json").read_text())
    return {name: drawn(name, tuple(shape)) for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """The stand-in tensor of a name."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    values = np.random.RandomState(zlib.crc32(f"sipmask:{name}".encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif name.endswith("running_mean") or re.search(r"(bn\d|downsample\.1|gn|norm)\.bias$", name):
        values = 0.1 * values
    elif len(shape) > 1:
        values = first_of(_GAINS, name, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * values
    elif name.endswith("weight"):  # of a norm; the last one of a residual branch is damped
        values = (0.2 if ".bn3." in name else 1.0) * (1 + 0.1 * values)
    else:
        values = first_of(_OFFSETS, name, 0.0) + 0.05 * np.asarray(values)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def build() -> Any:
    """The network with its stand-in weights, by the way that published files take."""
    return translate(stand_in_weights(), source="sipmask_r50_youtubevis2019.pth").model()


def stored(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def training_pairs(pairs: Sequence[int]) -> Clip:
    """Pairs of train_batch.npz as a batch."""
    with np.load(ALL_DATA / "train_batch.npz") as file:
        batch = dict(file)
    targets = tuple(
        tuple(
            FrameTargets(
                boxes=torch.from_numpy(batch[f"boxes_{i}_{t}"]),
                labels=torch.from_numpy(batch[f"labels_{i}_{t}"]),
                masks=torch.from_numpy(batch[f"masks_{i}_{t}"]).bool(),
                track_ids=torch.from_numpy(batch[f"ids_{i}_{t}"]),
            )
            for t in (0, 1)
        )
        for i in pairs
    )
    return Clip(
        frames=torch.stack([torch.stack([SIZE(image) for image in batch["imgs_u8"][i]]) for i in pairs]),
        image_sizes=torch.tensor([180, 320]).expand(len(pairs), 2, 2),
        targets=targets,
        video_ids=torch.arange(len(pairs)),
        frame_indices=torch.tensor([[0, 1]]).expand(len(pairs), 2),
    )
