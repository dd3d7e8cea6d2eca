"""What synthetic videos look like: every setting in one record, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from stmask.data.synthetic.shapes import SHAPES
from stmask.errors import ConfigError

MAX_OBJECTS = 6
_CLASSES = ("disc", "square", "triangle", "star", "cross", "ring", "heart", "crescent")


def _knob(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """Settings of the synthetic videos; the defaults are those of the preset `medium`.

    Lengths are fractions of the frame's short side, times are in frames, so that a preset keeps its difficulty at any
    resolution. A range is drawn from once per object.

    Raises:
        ConfigError: a value that is out of its range; the message names the setting.
    """

    height: int = _knob(128, "frame height in pixels")
    width: int = _knob(224, "frame width in pixels")
    frames: int = _knob(12, "frames in a video")
    classes: tuple[str, ...] = _knob(_CLASSES, "shape classes, in the order of their category ids")
    objects: tuple[int, int] = _knob((1, 4), f"fewest and most objects in a video, at most {MAX_OBJECTS}")
    diameter: tuple[float, float] = _knob((0.28, 0.6), "object size")
    stretch: float = _knob(0.3, "largest logarithm of an object's aspect ratio")
    tilt: float = _knob(180.0, "largest initial rotation, degrees")
    rotation: float = _knob(6.0, "fastest rotation, degrees per frame")
    scaling: float = _knob(0.2, "largest change of an object's size over time, as a logarithm")
    speed: tuple[float, float] = _knob((0.01, 0.05), "object speed, per frame")
    crossing: float = _knob(0.5, "probability that an object is sent across another; the others are kept apart")
    leaving: float = _knob(0.3, "probability that an object enters late, leaves early, or goes away and returns")
    camera_pan: float = _knob(0.02, "speed of the camera, per frame")
    camera_zoom: float = _knob(0.08, "largest zoom of the camera, as a logarithm")
    camera_roll: float = _knob(4.0, "largest roll of the camera, degrees")
    shutter: float = _knob(0.5, "motion blur: exposure in frame intervals; more than 1 adds up frames")
    background_contrast: float = _knob(0.6, "strength of the background's texture, 0 to 1")
    object_contrast: float = _knob(0.5, "strength of the objects' textures, 0 to 1")
    colour_distance: float = _knob(0.3, "wanted distance of an object's mean colour from the background's, 0 to 1")
    noise: float = _knob(3.0, "standard deviation of the sensor noise, grey levels")
    min_visible: int = _knob(16, "an instance with fewer visible pixels in a frame counts as absent there")
    jpeg_quality: int = _knob(92, "quality of the JPEG frames, 1 to 100")

    def __post_init__(self) -> None:
        def require(name: str, valid: bool, wanted: str) -> None:
            if not valid:
                raise ConfigError(f"synthetic videos: {name} must be {wanted}, got {getattr(self, name)!r}")

        require("height", 16 <= self.height <= 4096, "16 to 4096")
        require("width", 16 <= self.width <= 4096, "16 to 4096")
        require("frames", self.frames >= 1, "at least 1")
        known = all(name in SHAPES for name in self.classes)
        unique = len(set(self.classes)) == len(self.classes)
        require("classes", known and unique and len(self.classes) > 0, f"different names from {', '.join(SHAPES)}")
        require("objects", 1 <= self.objects[0] <= self.objects[1] <= MAX_OBJECTS, f"min,max within 1 to {MAX_OBJECTS}")
        require("diameter", 0 < self.diameter[0] <= self.diameter[1] <= 1.5, "min,max within 0 (exclusive) to 1.5")
        require("speed", 0 <= self.speed[0] <= self.speed[1] <= 1, "min,max within 0 to 1")
        for name in ("crossing", "leaving", "background_contrast", "object_contrast", "colour_distance"):
            require(name, 0 <= getattr(self, name) <= 1, "within 0 to 1")
        for name in ("stretch", "scaling", "camera_pan", "camera_zoom"):
            require(name, 0 <= getattr(self, name) <= 1, "within 0 to 1")
        for name in ("tilt", "rotation", "camera_roll"):
            require(name, 0 <= getattr(self, name) <= 180, "within 0 to 180 degrees")
        require("shutter", 0 <= self.shutter <= 4, "within 0 to 4")
        require("noise", 0 <= self.noise <= 100, "within 0 to 100")
        require("min_visible", self.min_visible >= 1, "at least 1")
        require("jpeg_quality", 1 <= self.jpeg_quality <= 100, "within 1 to 100")

    @staticmethod
    def preset(name: str, **changes: Any) -> SyntheticConfig:
        """The preset `name` with some settings changed.

        Raises:
            ConfigError: no such preset or no such setting.
        """
        if name not in PRESETS:
            raise ConfigError(f"no preset {name!r} of synthetic videos; choose from {', '.join(PRESETS)}")
        knobs = {f.name for f in fields(SyntheticConfig)}
        if unknown := sorted(set(changes) - knobs):
            raise ConfigError(f"no setting {unknown[0]!r} of synthetic videos; there are {', '.join(sorted(knobs))}")
        return SyntheticConfig(**{**PRESETS[name], **changes})

    @property
    def short_side(self) -> int:
        """Of the frame, in pixels."""
        return min(self.height, self.width)


PRESETS: dict[str, dict[str, Any]] = {
    "easy": {
        "classes": ("disc", "square", "triangle", "star", "cross", "ring"),
        "objects": (1, 3),
        "diameter": (0.42, 0.72),
        "stretch": 0.1,
        "tilt": 25.0,
        "rotation": 2.0,
        "scaling": 0.1,
        "speed": (0.005, 0.03),
        "crossing": 0.2,
        "leaving": 0.1,
        "camera_pan": 0.005,
        "camera_zoom": 0.03,
        "camera_roll": 1.0,
        "shutter": 0.2,
        "background_contrast": 0.35,
        "object_contrast": 0.3,
        "colour_distance": 0.5,
        "noise": 2.0,
    },
    "medium": {},
    "hard": {
        "objects": (2, 6),
        "diameter": (0.16, 0.55),
        "stretch": 0.5,
        "rotation": 15.0,
        "scaling": 0.4,
        "speed": (0.02, 0.1),
        "crossing": 0.8,
        "leaving": 0.5,
        "camera_pan": 0.05,
        "camera_zoom": 0.2,
        "camera_roll": 12.0,
        "shutter": 0.8,
        "background_contrast": 1.0,
        "object_contrast": 0.8,
        "colour_distance": 0.0,
        "noise": 8.0,
    },
    "bench": {
        "height": 96,
        "width": 160,
        "classes": ("disc", "triangle", "star", "cross", "ring", "bar"),
        "objects": (2, 4),
        "diameter": (0.36, 0.62),
        "stretch": 0.6,
        "rotation": 3.0,
        "scaling": 0.1,
        "speed": (0.015, 0.045),
        "crossing": 0.15,
        "leaving": 0.1,
        "camera_pan": 0.008,
        "camera_zoom": 0.04,
        "camera_roll": 2.0,
        "shutter": 0.0,
        "background_contrast": 0.4,
        "object_contrast": 0.35,
        "colour_distance": 0.45,
    },
}
"""What each preset changes of `SyntheticConfig`."""
