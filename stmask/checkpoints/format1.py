"""Cards of checkpoint format 1, which held a network and flat inference settings, as cards of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stmask.errors import ConfigError
from stmask.signatures import TARGET, shown

_HOMES = {
    "stmask.models.stmask": (
        "STMask", "PredictionHead", "NoCalibration", "AdaptiveCalibration", "AlignedCalibration", "TemporalFusion"
    ),
    "stmask.models.layers": ("ResNet",),
}  # fmt: skip
MOVED = {f"stmask.models.{name}": f"{home}.{name}" for home, names in _HOMES.items() for name in names} | {
    "stmask.official.yolact.Yolact": "stmask.models.yolact.Yolact"
}
_SUPPRESSIONS = {"cross_class": "stmask.ops.nms.CrossClassNMS", "per_class": "stmask.ops.nms.PerClassNMS"}
_QUIRKS = "stmask.official.quirks"
_UNLIMITED = f"{_QUIRKS}.unlimited_across_classes"
_UNFUSED = {f"{_QUIRKS}.{name}" for name in ("class_only_per_class", "tanh_twice", "binary_masks")}
_KERNELS_FIRST = {TARGET: f"{_QUIRKS}.KernelsFirst"}
_BOTH = ("score_threshold", "nms", "nms_iou", "nms_top_k", "max_detections", "match_weights", "new_object",
         "forget_after", "detector_wrappers")  # fmt: skip
_FUSED, _PLAIN = ("score_decay", "max_age", "min_mask_pixels"), ("occlusion_iou",)


def upgraded(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card in today's format; what it holds is checked as that.

    Args:
        card: plain data.

    Raises:
        ConfigError: inference settings that never were.
    """
    settings, model = card.get("inference"), card.get("model")
    if not isinstance(settings, Mapping) or not isinstance(model, Mapping):
        raise ConfigError("a card of format 1 has the mappings card.model and card.inference")
    if unknown := [name for name in settings if name not in (*_BOTH, *_FUSED, *_PLAIN)]:
        raise ConfigError(f"unknown key card.inference.{unknown[0]}")
    fused = model.get("temporal") is not None
    parts = {"detector": _detector(settings), "tracker": _tracker(settings, fused=fused)}
    rest = {name: value for name, value in card.items() if name != "inference"}
    return rest | {"model": {**_renamed(model), **parts}}


def _renamed(node: Any) -> Any:
    if isinstance(node, list):
        return [_renamed(child) for child in node]
    if not isinstance(node, Mapping):
        return node
    renamed = {name: _renamed(child) for name, child in node.items()}
    target = renamed.get(TARGET)
    if isinstance(target, str):
        renamed[TARGET] = MOVED.get(target, target)
    if renamed.get("centerness_layout") == _KERNELS_FIRST:
        del renamed["centerness_layout"]
        renamed[TARGET] = f"{_QUIRKS}.KernelsFirstHead"
    return renamed


def _detector(settings: Mapping[str, Any]) -> dict[str, Any]:
    kind, wrappers = settings.get("nms", "cross_class"), settings.get("detector_wrappers", [])
    if not isinstance(kind, str) or kind not in _SUPPRESSIONS:
        raise ConfigError(f"card.inference.nms must be one of {', '.join(_SUPPRESSIONS)}, got {shown(kind)}")
    if not isinstance(wrappers, list) or not all(isinstance(name, str) for name in wrappers):
        raise ConfigError(f"card.inference.detector_wrappers must be a list of names, got {shown(wrappers)}")
    unfused = set(wrappers) - {_UNLIMITED}
    if unfused not in (set(), _UNFUSED):
        raise ConfigError(f"card.inference.detector_wrappers: this version does not know {shown(wrappers)}")
    nms = {TARGET: _SUPPRESSIONS[kind]} | _given(settings, nms_iou="iou_threshold", nms_top_k="top_k")
    if _UNLIMITED in wrappers and kind == "cross_class":
        nms["max_detections"] = nms.get("top_k", 200)
    else:
        nms |= _given(settings, max_detections="max_detections")
    target = f"{_QUIRKS}.UnfusedDetector" if unfused else "stmask.models.stmask.Detector"
    return {TARGET: target, "nms": nms} | _given(settings, score_threshold="score_threshold")


def _tracker(settings: Mapping[str, Any], *, fused: bool) -> dict[str, Any]:
    tracker: dict[str, Any] = {
        TARGET: "stmask.models.stmask.TemporalTracker" if fused else "stmask.tracking.PlainTracker"
    }
    parts = {"weights": ("match_weights", "MatchWeights"), "new_object": ("new_object", "NewObject")}
    for name, (setting, part) in parts.items():
        if setting in settings:
            values = settings[setting]
            if not isinstance(values, Mapping):
                raise ConfigError(f"card.inference.{setting} must be a mapping, got {shown(values)}")
            tracker[name] = {**values, TARGET: f"stmask.tracking.{part}"}
    own = (*_FUSED, "score_threshold") if fused else _PLAIN
    return {**tracker, "_partial_": True} | _given(settings, **{name: name for name in (*own, "forget_after")})


def _given(settings: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """Those of some settings that are there, under their new names."""
    return {new: settings[old] for old, new in names.items() if old in settings}
