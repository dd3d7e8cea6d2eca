"""From a network and plain inference settings to a ready `VideoSegmenter`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.settings import InferenceSettings
from stmask.ops.frames import FramePreprocessor


def build_segmenter(
    model: nn.Module,
    inference: Mapping[str, Any] | InferenceSettings,
    *,
    preprocessor: FramePreprocessor | None = None,
    class_names: Sequence[str] = (),
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> VideoSegmenter:
    """A segmenter for `model` from the plain `inference` part of a configuration or a checkpoint.

    Raises:
        ConfigError: a key that does not exist or a value that cannot work.
    """
    settings = inference if isinstance(inference, InferenceSettings) else InferenceSettings.from_dict(inference)
    return VideoSegmenter(
        model,
        detector=settings.detector(),
        tracker=settings.tracker(model),
        preprocessor=preprocessor,
        class_names=class_names,
        device=device,
        autocast=autocast,
    )
