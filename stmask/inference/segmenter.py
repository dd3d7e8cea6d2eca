"""`VideoSegmenter`: frames of a video in, tracked instances out, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stmask.inference.card import ModelCard
from stmask.inference.detector import DetectorLike
from stmask.inference.settings import InferenceSettings
from stmask.ops import masks as mask_ops
from stmask.ops.frames import FramePreprocessor
from stmask.structures import DensePredictions, Detections, TrackedFrame
from stmask.tracking import FrameMaps, Tracker


class VideoSegmenter:
    """Runs a network and a tracker over a video. Memory does not grow with the video's length.

    >>> segmenter = VideoSegmenter(model)
    >>> for frame in frames:  # (h, w, 3) uint8 RGB
    ...     tracked = segmenter.step(frame)
    ...     masks = segmenter.frame_masks(tracked, frame.shape[:2])

    Attributes:
        class_names: name of label 1, 2, ...
        timings: seconds spent so far, over all videos, by stage.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        detector: DetectorLike | None = None,
        tracker: Tracker | None = None,
        preprocessor: FramePreprocessor | None = None,
        class_names: Sequence[str] = (),
        device: torch.device | str | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            model: (B, 3, H, W) to DensePredictions. It is put in evaluation mode and moved to `device`.
            detector, tracker: default by the model's card (what its checkpoint says), or as `InferenceSettings()`: a
                tracker with temporal fusion if the model has the module (`model.temporal`).
            preprocessor: default the card's, or `FramePreprocessor()`, that is 360 x 640.
            class_names: names of the labels; default the card's.
            device: default where the model is.
            autocast: half precision type for the network, None for float32.
        """
        self.device = torch.device(next(model.parameters()).device if device is None else device)
        self.model = model.to(self.device).eval()
        card: ModelCard | None = getattr(model, "card", None)
        settings = InferenceSettings() if card is None else InferenceSettings.from_dict(card.inference)
        self.detector: DetectorLike = detector or settings.detector()
        self.tracker = tracker or settings.tracker(model)
        self.preprocessor = preprocessor or (FramePreprocessor() if card is None else card.preprocessor)
        self.class_names = tuple(class_names) or (() if card is None else card.class_names)
        self.timings = {"preprocessing": 0.0, "network": 0.0, "detection": 0.0, "tracking": 0.0}
        self._autocast = autocast

    def reset(self) -> None:
        """The next frame is the first of a new video."""
        self.tracker.reset()

    @torch.inference_mode()
    def step(self, frame: npt.NDArray[np.uint8] | Tensor) -> TrackedFrame:
        """The next frame of the video, (h, w, 3) uint8 RGB of any size."""
        predictions = self._run(frame)
        found = self._detect(predictions)
        with self._timed("tracking"):
            return self.tracker.step(found, FrameMaps.of(predictions))

    @torch.inference_mode()
    def detect(self, image: npt.NDArray[np.uint8] | Tensor) -> Detections:
        """What is seen in one image, (h, w, 3) uint8 RGB of any size; the video, if any, does not go on."""
        return self._detect(self._run(image))

    def frame_masks(self, tracked: TrackedFrame, size: tuple[int, int]) -> Tensor:
        """The masks (N, h, w) bool of a frame at `size`, the video's own (height, width)."""
        return self.masks_at(tracked.detections, size)

    def frame_boxes(self, tracked: TrackedFrame, size: tuple[int, int]) -> Tensor:
        """The smallest boxes (N, 4) xyxy in whole pixels of `size`, the video's own (height, width), that enclose a
        frame's boxes: row y1 is the first, row y2 - 1 the last that they touch.
        """
        boxes = self.boxes_at(tracked.detections, size)
        return torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1).long()

    def masks_at(self, detections: Detections, size: tuple[int, int]) -> Tensor:
        """The masks (N, h, w) bool of instances at `size`, their image's own (height, width)."""
        return mask_ops.enlarge(self._without_padding(detections.masks), *size)

    def boxes_at(self, detections: Detections, size: tuple[int, int]) -> Tensor:
        """The boxes (N, 4) xyxy of instances in pixels of `size`, their image's own (height, width), within it."""
        height, width = size
        padded_h, padded_w = self.preprocessor.padded_size
        valid_h, valid_w = self.preprocessor.height / padded_h, self.preprocessor.width / padded_w
        scale = detections.boxes.new_tensor([width / valid_w, height / valid_h] * 2)
        limit = scale.new_tensor([width, height] * 2)
        return (detections.boxes * scale).clamp(min=0).minimum(limit)

    def _run(self, frame: npt.NDArray[np.uint8] | Tensor) -> DensePredictions:
        image = frame.cpu().numpy() if isinstance(frame, Tensor) else frame
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
            raise ValueError(f"a frame must be (h, w, 3) uint8 RGB, got {tuple(image.shape)} {image.dtype}")
        with self._timed("preprocessing"):
            inputs = self.preprocessor(image)[None].to(self.device)
        with self._timed("network"):
            return self._predict(inputs)

    def _predict(self, inputs: Tensor) -> DensePredictions:
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            predictions: DensePredictions = self.model(inputs)
        return predictions.float()

    def _detect(self, predictions: DensePredictions) -> Detections:
        with self._timed("detection"):
            return self.detector(predictions)

    def _without_padding(self, masks: Tensor) -> Tensor:
        (padded_h, padded_w), (h, w) = self.preprocessor.padded_size, masks.shape[1:]
        valid_h, valid_w = self.preprocessor.height * h // padded_h, self.preprocessor.width * w // padded_w
        return masks[:, : max(1, valid_h), : max(1, valid_w)]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.timings[stage] += time.perf_counter() - start
