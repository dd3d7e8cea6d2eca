"""Stand-in weights for CondInst, and the stored numbers of mmdet: see data/condinst/README.md."""

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

DATA = ALL_DATA / "condinst"
SIZE = FramePreprocessor(height=180, width=320)

# (pattern, factor of the standard deviation), the first that fits
_GAINS = (
    (r"lateral_convs\.", 0.5),
    (r"conv_cls\.", 1.7),
    (r"conv_reg\.", 1.2),
    (r"conv_centerness\.", 0.5),
    (r"controller\.", 0.7),
)
# so that few points show something, boxes are a few cells wide and centre-ness is high
_OFFSETS = ((r"conv_cls\.", -7.45), (r"conv_reg\.", 2.0), (r"conv_centerness\.", 1.5))
_WITHOUT_MEAN = r"bbox_head\.(conv_cls|conv_reg|conv_centerness|controller)\.weight$"  # of a row


@cache
def stand_in_weights() -> dict[str, Tensor]:
    """All tensors by mmdet's names, each drawn from a generator seeded by its name; read only."""
    shapes = json.loads((DATA / "keys.json").read_text())
    return {name: _drawn(name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    values = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif name.endswith("running_mean") or re.search(r"(bn\d?|gn|downsample\.1)\.bias$", name):
        values = 0.1 * values
    elif len(shape) > 1:
        if re.search(_WITHOUT_MEAN, name):
            values = values - values.reshape(shape[0], -1).mean(1).reshape(-1, *[1] * (len(shape) - 1))
        values = first_of(_GAINS, name, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * values
    elif name.endswith(("weight", "scale")):  # of a norm; the last one of a residual branch is damped
        values = (0.2 if ".bn3." in name else 1.0) * (1 + 0.1 * values)
    else:
        values = first_of(_OFFSETS, name, 0.0) + 0.01 * values
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def build() -> Any:
    """The network with its stand-in weights, by the way that published files take."""
    return translate(stand_in_weights(), source="condinst_r50_fpn_ms-poly-90k_coco_instance.pth").model()


def stored(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


CASES = ("all", "few", "large")
_HEIGHT, _WIDTH = 192, 320
# unions of rectangles (left, top, right, bottom) in pixels, for each of four frames: objects for P4, P5 and P6
_LARGE: tuple[tuple[tuple[tuple[int, int, int, int], ...], ...], ...] = (
    (((10, 20, 130, 110),), ((140, 60, 310, 176),)),
    (((4, 10, 60, 170), (60, 80, 316, 90)),),
    (((0, 0, 320, 180),), ((100, 40, 200, 140), (120, 140, 140, 160))),
    (((200, 16, 300, 64), (280, 16, 300, 160)), ((16, 100, 112, 164),)),
)


def four_frames(case: str) -> Clip:
    """The two pairs of train_batch.npz as clips of two frames, with the targets of a case of losses.json."""
    with np.load(ALL_DATA / "train_batch.npz") as file:
        batch = dict(file)

    def target(b: int, t: int) -> FrameTargets:
        if case == "large":
            return _drawn_objects(_LARGE[2 * b + t])
        kept = slice(0) if case == "few" and (b, t) == (0, 1) else slice(None)
        return FrameTargets(
            boxes=torch.from_numpy(batch[f"boxes_{b}_{t}"])[kept],
            labels=torch.from_numpy(batch[f"labels_{b}_{t}"])[kept],
            masks=torch.from_numpy(batch[f"masks_{b}_{t}"]).bool()[kept],
            track_ids=torch.from_numpy(batch[f"ids_{b}_{t}"])[kept],
        )

    return Clip(
        frames=torch.stack([torch.stack([SIZE(image) for image in pair]) for pair in batch["imgs_u8"]]),
        image_sizes=torch.tensor([180, 320]).expand(2, 2, 2),
        targets=tuple(tuple(target(b, t) for t in (0, 1)) for b in (0, 1)),
        video_ids=torch.arange(2),
        frame_indices=torch.tensor([[0, 1], [0, 1]]),
    )


def _drawn_objects(shapes: tuple[tuple[tuple[int, int, int, int], ...], ...]) -> FrameTargets:
    masks = torch.zeros(len(shapes), _HEIGHT, _WIDTH, dtype=torch.bool)
    boxes = torch.zeros(len(shapes), 4)
    for n, parts in enumerate(shapes):
        for left, top, right, bottom in parts:
            masks[n, top:bottom, left:right] = True
        corners = torch.tensor(parts)
        boxes[n] = torch.cat([corners[:, :2].amin(dim=0), corners[:, 2:].amax(dim=0)])
    return FrameTargets(
        boxes=boxes / torch.tensor([_WIDTH, _HEIGHT, _WIDTH, _HEIGHT]),
        labels=torch.arange(1, len(shapes) + 1),
        masks=masks,
        track_ids=torch.arange(1, len(shapes) + 1),
    )
