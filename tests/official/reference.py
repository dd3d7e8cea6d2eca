"""Stand-in weights and stored numbers of the authors' code, run once on a CPU in float32: no published weights needed.

`data/` holds, for networks named as the authors name them: names and shapes of all tensors (`*.keys.json`); outputs of
each stage for frame 0 of `clip.npz` (every n-th value, and mean, standard deviation and sum of magnitudes of all); what
detection and tracking gave over its six frames; for `train_batch.npz` the anchors' targets, losses and gradient norms.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stmask.official.translation import translate

DATA = Path(__file__).parent / "data"
R50, R50_ADA, R50_PLAIN = "STMask_plus_resnet50", "STMask_plus_resnet50_ada", "STMask_plus_resnet50_notf"

# Scales that keep such a network's activations in a healthy range: (pattern, factor), the first that fits.
_GAINS = (
    (r"conv_offset_mask\.weight$", 0.30),
    (r"conv_offset\.weight$", 0.50),
    (r"(bbox_layer|centerness_layer|lat_layers|proto_net\.10)\.", 0.50),
    (r"conv_adaption\.", 0.8),
    (r"conf_layer\.", 1.3),
    (r"TemporalNet\.fc\.", 0.30),
    (r"TemporalNet\.fc_coeff\.", 0.20),
)
_OFFSETS = ((r"centerness_layer\.", 1.0), (r"proto_net\.10\.", -0.25), (r"mask_layer\.", 0.8))
_BACKGROUND = 10.0  # so that only a few anchors show something


@cache
def stand_in_weights(variant: str) -> dict[str, Tensor]:
    """All tensors of a network by the authors' names, each drawn from a generator seeded by its name; read only."""
    shapes = json.loads((DATA / f"{variant}.keys.json").read_text())
    return {name: _drawn(name, tuple(shape)) for name, shape in shapes.items()}


def first_of(rules: tuple[tuple[str, float], ...], name: str, otherwise: float) -> float:
    """The value of the first rule whose pattern is in the name."""
    return next((value for pattern, value in rules if re.search(pattern, name)), otherwise)


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(noise)
    elif name.endswith("running_mean") or re.search(r"(bn\d|downsample\.1)\.bias$", name):
        values = 0.1 * noise
    elif len(shape) > 1:
        values = first_of(_GAINS, name, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * noise
    elif name.endswith("weight"):  # of a batch norm; the last one of a residual branch is damped
        values = (0.2 if ".bn3." in name else 1.0) * (1 + 0.1 * noise)
    else:
        values = first_of(_OFFSETS, name, 0.0) + 0.01 * noise
        if "conf_layer." in name:
            values[0] += _BACKGROUND
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def build(variant: str, *, quirks: bool = True) -> Any:
    """The network with its stand-in weights, by the way that published files take."""
    return translate(stand_in_weights(variant), source=f"{variant}.pth", quirks=quirks).model()


def stored(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file of `data/`."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def deviation(got: Tensor | np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference relative to the largest magnitude of the wanted array."""
    got = np.asarray(got.detach() if isinstance(got, Tensor) else got)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    if wanted.size == 0:
        return 0.0
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def check(name: str, got: Tensor, reference: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    """A tensor against its stored values, every n-th, and the statistics of all of it."""
    array = got.numpy()
    assert array.shape == tuple(reference[f"{name}__shape"]), name
    assert deviation(array.ravel()[:: int(reference[f"{name}__step"])], reference[name]) < tolerance, name
    scale = np.abs(reference[name]).max() * np.array([1, 1, array.size])
    whole = array.astype(np.float64)
    stats = np.array([whole.mean(), whole.std(), np.abs(whole).sum()])
    np.testing.assert_allclose(stats / scale, reference[f"{name}__stats"] / scale, atol=tolerance, err_msg=name)
