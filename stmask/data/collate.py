"""Joining clips to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stmask.structures import Clip


def collate_pairs(clips: Sequence[Clip]) -> Clip:
    """One batch of clips of equal length and frame size; the order is kept."""
    return Clip(
        frames=torch.cat([clip.frames for clip in clips]),
        image_sizes=torch.cat([clip.image_sizes for clip in clips]),
        targets=tuple(row for clip in clips for row in clip.targets),
        video_ids=torch.cat([clip.video_ids for clip in clips]),
        frame_indices=torch.cat([clip.frame_indices for clip in clips]),
    )
