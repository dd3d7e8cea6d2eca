"""Instances of single frames: as a model finds them (Frame), and as a tracker reports them (TrackedFrame)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stmask.extras import require
from stmask.structures._checks import require_shape
from stmask.structures.masks import WHOLE, CroppedMasks, Masks, Placement

if TYPE_CHECKING:
    import supervision
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Instances:
    """N instances of one frame (N = 0 is normal). Models add their own fields in a subclass.

    Attributes:
        boxes: (N, 4) xyxy relative to the padded input; not clipped to [0, 1].
        scores: (N,).
        labels: (N,) int64 in 1..K.
        masks: N of them.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Masks

    def __post_init__(self) -> None:
        n = self.scores.shape[0]
        require_shape("boxes", self.boxes, (n, 4))
        require_shape("scores", self.scores, (n,))
        require_shape("labels", self.labels, (n,))
        if len(self.masks) != n:
            raise ValueError(f"{n} instances need as many masks, got {len(self.masks)}")

    def __len__(self) -> int:
        return self.scores.shape[0]

    def __getitem__(self, index: Tensor) -> Self:
        """Selects instances by an index or a boolean mask over N."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def followed_by(self, later: Self) -> Self:
        """These instances, then the later ones."""
        return type(self)(*(_joined(getattr(self, f.name), getattr(later, f.name)) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class RecognisableInstances(Instances):
    """Instances with features by which their objects are recognised in other frames.

    Attributes:
        track_features: (N, E) of any length.
    """

    track_features: Tensor

    def __post_init__(self) -> None:
        Instances.__post_init__(self)
        require_shape("track_features", self.track_features, (len(self.scores), None))


def _joined(first: Any, second: Any) -> Any:
    return torch.cat([first, second]) if isinstance(first, Tensor) else first.followed_by(second)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a model gives for one frame.

    Attributes:
        instances: what it found.
        memory: what the model's own tracker keeps of the frame: a record of the model, or None.
    """

    instances: Instances
    memory: Any = None


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """The instances that are reported for one frame, with their identities.

    Attributes:
        frame_index: position of the frame since the tracker's last reset.
        instances: N instances.
        track_ids: (N,) int64, all different, counted from 0 since the tracker's last reset.
        supplemented: (N,) bool, True where the tracker carried the instance over without a detection (equation 17).
        placement: where the image lies in the network's input.
    """

    frame_index: int
    instances: Instances
    track_ids: Tensor
    supplemented: Tensor
    placement: Placement = WHOLE

    def __post_init__(self) -> None:
        n = len(self.instances)
        require_shape("track_ids", self.track_ids, (n,))
        require_shape("supplemented", self.supplemented, (n,))

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, index: Tensor) -> TrackedFrame:
        """Selects instances by an index or a boolean mask over N."""
        return TrackedFrame(
            self.frame_index, self.instances[index], self.track_ids[index], self.supplemented[index], self.placement
        )

    def masks_at(self, size: tuple[int, int]) -> Tensor:
        """The masks (N, height, width) bool at `size`, the image's own."""
        return self.instances.masks.at(size, placement=self.placement)

    def cropped_masks_at(self, size: tuple[int, int]) -> CroppedMasks:
        """The same masks on the CPU, of each only the part of the image that matters: faster for large images."""
        return self.instances.masks.cropped_at(size, placement=self.placement)

    def boxes_at(self, size: tuple[int, int]) -> Tensor:
        """The network's boxes (N, 4) xyxy in pixels of `size`, the image's own (height, width), within it."""
        return self.placement.boxes_at(self.instances.boxes, size)

    def shown_at(self, size: tuple[int, int]) -> tuple[TrackedFrame, CroppedMasks]:
        """What is drawn and written of the frame at `size`, the image's own (height, width).

        Those are the instances of which a pixel is seen, and their masks, each cut to the smallest box that holds it.
        That box is shown with it, and not the network's: a mask may reach beyond that one, or not fill it.
        """
        masks = self.cropped_masks_at(size).tight()
        seen = [index for index, part in enumerate(masks.parts) if part.size]
        return self[torch.tensor(seen, dtype=torch.int64, device=self.track_ids.device)], masks[seen]

    def to_supervision(self, size: tuple[int, int], *, class_names: Sequence[str] = ()) -> supervision.Detections:
        """The instances as `supervision.Detections`, for its annotators, zones and counters.

        `mask` has the masks, `xyxy` their boxes in pixels, `confidence` the scores and `tracker_id` the track ids.
        `class_id` counts from 0, that is label 1 is class 0, so that `class_names[class_id]` is its name. Instances of
        which no pixel is seen are left out, as in what is drawn and written (`shown_at`).

        Args:
            size: the image's own (height, width).
            class_names: of labels 1..K, for `data["class_name"]`.

        Raises:
            ConfigError: supervision is not installed.
        """
        require("supervision", what="TrackedFrame.to_supervision")
        import supervision

        shown, masks = self.shown_at(size)
        class_id = shown.instances.labels.cpu().numpy() - 1
        data: dict[str, Any] = {"supplemented": shown.supplemented.cpu().numpy()}
        if class_names:
            data["class_name"] = np.array(class_names, dtype=object)[class_id].astype(str)
        return supervision.Detections(
            xyxy=masks.boxes().astype(np.float32),
            mask=masks.whole(),
            confidence=shown.instances.scores.cpu().numpy().astype(np.float32),
            class_id=class_id,
            tracker_id=shown.track_ids.cpu().numpy(),
            data=data,
        )
