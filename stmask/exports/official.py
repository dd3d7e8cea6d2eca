"""The STMask authors' format: a plain state dict under their names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stmask.models import VideoModel

SUMMARY = "a state dict for the authors' code"
SUFFIX = ".pth"


def write(model: VideoModel, path: str | os.PathLike[str]) -> str:
    """Writes the tensors under the authors' names.

    Raises:
        CheckpointError: their format can't express the network.
    """
    from stmask.official import export

    return f"{export(model, path)} tensors"
