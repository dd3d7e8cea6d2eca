"""Plain inference settings, as configurations and checkpoints hold them, and the parts that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from torch import nn

from stmask import registry
from stmask.config_ranges import check_ranges
from stmask.errors import ConfigError
from stmask.inference.detector import NMS, Detector, DetectorLike
from stmask.ops.nms import CrossClassNMS, PerClassNMS
from stmask.tracking import MatchWeights, NewObject, OnlineTracker, PlainTracker, Tracker

_NMS_KINDS = ("cross_class", "per_class")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Everything between the network's predictions and the reported tracks; see conf/inference/default.yaml.

    Attributes:
        score_threshold: of candidates, of per-class suppression and of what temporal fusion reports.
        nms: "cross_class" or "per_class".
        nms_iou, nms_top_k, max_detections: see `stmask.ops.nms`.
        match_weights, new_object: equation 15 and its new-object column.
        score_decay, max_age, min_mask_pixels: see `OnlineTracker` (with temporal fusion).
        occlusion_iou: see `PlainTracker` (without).
        forget_after: both trackers; None keeps tracks for ever.
        detector_wrappers: registered names of functions from detector to detector, each at most once; only parity
            with released weights needs them.
    """

    score_threshold: float = 0.05
    nms: str = "cross_class"
    nms_iou: float = 0.5
    nms_top_k: int = 200
    max_detections: int = 100
    match_weights: MatchWeights = field(default_factory=MatchWeights)
    new_object: NewObject = field(default_factory=NewObject)
    score_decay: float = 0.95
    max_age: int = 10
    min_mask_pixels: int = 2
    occlusion_iou: float = 0.3
    forget_after: int | None = 30
    detector_wrappers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(asdict(self), key="inference")
        if self.nms not in _NMS_KINDS:
            raise ConfigError(f"inference.nms must be one of {', '.join(_NMS_KINDS)}, got {self.nms!r}")
        for name in self.detector_wrappers:
            if registry.find(name, "wrapper") is None:
                known = ", ".join(registry.names_of("wrapper"))
                raise ConfigError(f"inference.detector_wrappers has no {name!r}; there are {known}")
        if len(set(self.detector_wrappers)) < len(self.detector_wrappers):
            raise ConfigError(f"inference.detector_wrappers names one twice: {', '.join(self.detector_wrappers)}")
        if self.forget_after is not None and self.forget_after < self.max_age:
            raise ConfigError(
                f"inference.forget_after must be null or at least inference.max_age = {self.max_age}, "
                f"got {self.forget_after}"
            )

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> InferenceSettings:
        """Settings from a plain mapping; what it leaves out keeps its default.

        Raises:
            ConfigError: a key that does not exist or a value of the wrong type, by its full name.
        """
        return _from_mapping(InferenceSettings, values, "inference")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers, as a checkpoint holds them."""
        return {**asdict(self), "detector_wrappers": list(self.detector_wrappers)}

    def detector(self) -> DetectorLike:
        """The detector they describe."""
        nms: NMS = CrossClassNMS(self.nms_iou, self.nms_top_k, self.max_detections)
        if self.nms == "per_class":
            nms = PerClassNMS(self.nms_iou, self.nms_top_k, self.max_detections, self.score_threshold)
        detector: DetectorLike = Detector(score_threshold=self.score_threshold, nms=nms)
        for name in self.detector_wrappers:
            wrapper = registry.find(name, "wrapper")
            assert wrapper is not None
            detector = wrapper(detector)
        return detector

    def tracker(self, model: nn.Module) -> Tracker:
        """The tracker they describe: with temporal fusion if the model has it."""
        temporal = getattr(model, "temporal", None)
        if temporal is None:
            return PlainTracker(
                weights=self.match_weights,
                new_object=self.new_object,
                occlusion_iou=self.occlusion_iou,
                forget_after=self.forget_after,
            )
        return OnlineTracker(
            temporal,
            weights=self.match_weights,
            new_object=self.new_object,
            score_threshold=self.score_threshold,
            score_decay=self.score_decay,
            max_age=self.max_age,
            min_mask_pixels=self.min_mask_pixels,
            forget_after=self.forget_after,
        )


def _from_mapping(kind: type[_T], values: Mapping[str, Any], name: str) -> _T:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} must be a mapping, got {values!r}")
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key {name}.{key}; known are {', '.join(known)}")
    return kind(**{key: _checked(hints[key], value, f"{name}.{key}") for key, value in values.items()})


def _checked(hint: Any, value: Any, name: str) -> Any:
    kinds = get_args(hint) or (hint,)
    if isinstance(hint, type) and is_dataclass(hint):
        return _from_mapping(hint, value, name)
    if hint == tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} must be a list of names, got {value!r}")
        return tuple(value)
    if float in kinds:
        kinds = (*kinds, int)
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = " or ".join("null" if k is type(None) else k.__name__ for k in get_args(hint) or (hint,))
        raise ConfigError(f"{name} must be {wanted}, got {value!r}")
    return value
