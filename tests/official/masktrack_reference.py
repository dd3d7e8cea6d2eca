"""Stand-in weights for MaskTrack R-CNN, and the stored numbers of mmdet: see data/masktrack/README.md."""

from __future__ import annotations

import json
import math
import re
import zlib
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

DATA = ALL_DATA / "masktrack"
SCORE_THRESHOLD = 0.01273433  # the middle of a gap between scores
SIZE = FramePreprocessor(height=180, width=320)

# (pattern, factor of the standard deviation), the first that fits
_GAINS = (
    (r"lateral_convs\.", 0.5),
    (r"rpn_reg\.", 0.35),
    (r"fc_cls\.", 3.0),
    (r"fc_reg\.", 0.7),
    (r"mask_head\.upsample\.", 2.0),
    (r"embed_head\.fcs\.1\.", 0.1),
)
_OFFSETS = ((r"embed_head\.fcs\.1\.", -0.08), (r"rpn_cls\.", -1.0))
_WITHOUT_MEAN = r"(fc_cls|fc_reg|rpn_cls|rpn_reg|conv_logits|embed_head\.fcs\.\d|shared_fcs\.\d)\.weight$"  # of a row
_BACKGROUND = 15.5  # so that only a few regions show something


@cache
def stand_in_weights() -> dict[str, Tensor]:
    """All tensors by mmtracking's names, each drawn from a generator seeded by its name; read only."""
    shapes = json.loads((DATA / "keys.json").read_text())
    return {name: _drawn(name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    values = np.random.RandomState(zlib.crc32(f"0:{name}".encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif name.endswith("running_mean") or re.search(r"(bn\d|downsample\.1)\.bias$", name):
        values = 0.1 * values
    elif len(shape) > 1:
        if re.search(_WITHOUT_MEAN, name):
            values = values - values.reshape(shape[0], -1).mean(1).reshape(-1, *[1] * (len(shape) - 1))
        values = first_of(_GAINS, name, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * values
    elif name.endswith("weight"):  # of a batch norm; the last one of a residual branch is damped
        values = (0.2 if ".bn3." in name else 1.0) * (1 + 0.1 * values)
    else:
        values = first_of(_OFFSETS, name, 0.0) + 0.01 * values
        if "fc_cls." in name:
            values[-1] += _BACKGROUND
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def build() -> Any:
    """The network with its stand-in weights, by the way that published files take."""
    return translate(stand_in_weights(), source="masktrack_rcnn_r50_fpn_12e_youtubevis2019.pth").model()


def stored(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def training_pair() -> Clip:
    """The first pair of train_batch.npz as a batch."""
    with np.load(ALL_DATA / "train_batch.npz") as file:
        batch = dict(file)
    targets = tuple(
        FrameTargets(
            boxes=torch.from_numpy(batch[f"boxes_0_{t}"]),
            labels=torch.from_numpy(batch[f"labels_0_{t}"]),
            masks=torch.from_numpy(batch[f"masks_0_{t}"]).bool(),
            track_ids=torch.from_numpy(batch[f"ids_0_{t}"]),
        )
        for t in (0, 1)
    )
    return Clip(
        frames=torch.stack([SIZE(image) for image in batch["imgs_u8"][0]])[None],
        image_sizes=torch.tensor([[[180, 320], [180, 320]]]),
        targets=(targets,),
        video_ids=torch.zeros(1, dtype=torch.int64),
        frame_indices=torch.tensor([[0, 1]]),
    )
