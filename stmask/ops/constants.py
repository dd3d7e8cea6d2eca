"""Small constant tensors, made once for each device."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """These numbers (n,) with the dtype and the device of `like`, not to be changed.

    To make a tensor of Python's numbers on a GPU waits for the GPU, and can't be recorded in a CUDA graph.
    """
    made = _made.__wrapped__ if torch.compiler.is_compiling() else _made  # a traced tensor is nobody else's
    return made(values, like.dtype, like.device)


@lru_cache(maxsize=256)
def _made(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # one that is made in inference mode could not be used outside of it
        return torch.tensor(values, dtype=dtype, device=device)
