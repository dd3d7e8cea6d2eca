"""The scene of a video: which objects there are, and how they and the camera move. Time t is continuous, in frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.shapes import SHAPES, FloatArray, Outline, float_array
from stmask.data.synthetic.textures import distant_colour, paint, random_colour

_TEXTURE_SIZE = 96  # texels of an object's texture; they span the outline's square and a margin
_TEXTURE_SPAN = 2.4
_BACKGROUND_MARGIN = 0.3  # of the short side; beyond it the background is mirrored
_PLACEMENTS = 12  # tried per object, to keep objects apart that are not meant to cross
_TIME_TO_LEAVE = 0.3  # of the video; short enough to be out of sight at some moment of every excursion
_CAMERA_REACH = 0.2  # of the short side
Vector = npt.NDArray[np.float64]  # (2,) x, y


def _fold(value: Vector, low: Vector, high: Vector) -> Vector:
    """A position that moves on endlessly, reflected into [low, high]."""
    span = np.maximum(high - low, 1e-6)
    return np.asarray(low + span - np.abs((value - low) % (2 * span) - span))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The path of an object: straight lines reflected inside `low` .. `high` (pixels), and at most one excursion.

    During the excursion, from `leaves_at` to `returns_at` (either may be infinite), it moves away along `exit_velocity`
    and comes back the same way. It goes along its path `pace` times as fast as `velocity` says, but is where it would
    be anyway at the time `middle`; the whole path is shifted by `shift` (pixels).
    """

    start: Vector
    velocity: Vector
    low: Vector
    high: Vector
    radius: float
    aspect: float
    angle: float
    spin: float
    pulse: tuple[float, float, float]  # amplitude of the logarithm of the size, angular frequency, phase
    leaves_at: float = np.inf
    returns_at: float = -np.inf
    exit_velocity: tuple[float, float] = (0.0, 0.0)
    pace: float = 1.0
    middle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def path(self, t: float) -> Vector:
        """Where the object would be without its excursion, in world pixels."""
        there = self.middle + self.pace * (t - self.middle)
        return np.asarray(_fold(self.start + self.velocity * there, self.low, self.high) + np.array(self.shift))

    def centre(self, t: float) -> Vector:
        """Where the object is, in world pixels."""
        away = max(0.0, min(t - self.leaves_at, self.returns_at - t))
        return np.asarray(self.path(t) + away * np.array(self.exit_velocity))

    def pose(self, t: float) -> FloatArray:
        """Affine matrix (2, 3) from the outline's square to world pixels."""
        amplitude, frequency, phase = self.pulse
        size = self.radius * np.exp(amplitude * np.sin(frequency * t + phase))
        c, s = np.cos(self.angle + self.spin * t), np.sin(self.angle + self.spin * t)
        axes = size * np.array([[c, -s], [s, c]]) @ np.diag([self.aspect, 1 / self.aspect])
        return np.column_stack([axes, self.centre(t)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Camera:
    """A hand-held camera: it sways, zooms and rolls about the centre of the frame.

    Attributes:
        centre: of the frame, pixels.
        sway: largest shift (x, y) in pixels.
        zoom: largest logarithm of the scale.
        roll: largest angle, radians.
        frequencies, phases: of these three.
    """

    centre: Vector
    sway: Vector
    zoom: float
    roll: float
    frequencies: Vector
    phases: Vector

    def view(self, t: float) -> FloatArray:
        """Affine matrix (2, 3) from world pixels to frame pixels."""
        sway, zoom, roll = np.sin(self.frequencies * t + self.phases)
        scale, angle = np.exp(self.zoom * zoom), self.roll * roll
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([linear, self.centre + self.sway * sway - linear @ self.centre]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Actor:
    """An object: its class 1..K, outline, RGB texture, matrix (2, 3) from texels to the outline's square, path."""

    label: int
    outline: Outline
    texture: npt.NDArray[np.uint8]
    texels: FloatArray
    motion: Trajectory


@dataclass(frozen=True, slots=True)
class Scene:
    """Actors from back to front before a background, whose `background_offset` (x, y) is the frame's corner in it."""

    actors: tuple[Actor, ...]
    camera: Camera
    background: npt.NDArray[np.uint8]
    background_offset: int


def _random_motion(rng: np.random.Generator, config: SyntheticConfig) -> Trajectory:
    short = config.short_side
    frame = np.array([config.width, config.height], dtype=np.float64)
    radius = rng.uniform(*config.diameter) * short / 2
    margin = np.minimum(0.8 * radius, 0.45 * frame)
    low, high = margin, frame - margin
    direction = rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(*config.speed) * short
    return Trajectory(
        start=rng.uniform(low, high),
        velocity=speed * np.array([np.cos(direction), np.sin(direction)]),
        low=low,
        high=high,
        radius=radius,
        aspect=float(np.exp(rng.uniform(-config.stretch, config.stretch) / 2)),
        angle=np.deg2rad(rng.uniform(-config.tilt, config.tilt)),
        spin=np.deg2rad(rng.uniform(-config.rotation, config.rotation)),
        pulse=(config.scaling * rng.random(), 2 * np.pi / rng.uniform(10, 30), rng.uniform(0, 2 * np.pi)),
    )


def _gap(motion: Trajectory, others: list[Trajectory], frames: int) -> float:
    """The smallest gap to any other object at any frame, negative where they overlap; in pixels."""
    gaps = [
        float(np.linalg.norm(motion.centre(t) - other.centre(t))) - motion.radius - other.radius
        for other in others
        for t in np.linspace(0, frames - 1, 8)
    ]
    return min(gaps, default=0.0)


def _across(rng: np.random.Generator, motion: Trajectory, other: Trajectory, frames: int) -> Trajectory:
    """The same motion, shifted so that it meets `other` at some time in the middle of the video."""
    t = rng.uniform(0.3, 0.7) * (frames - 1)
    return replace(motion, start=other.centre(t) - motion.velocity * t)


def _with_excursion(rng: np.random.Generator, motion: Trajectory, config: SyntheticConfig) -> Trajectory:
    """The same motion, but it enters late, leaves early, or goes away and returns; always by the nearest edge."""
    t = config.frames
    kind = rng.integers(3)
    leaves_at = (-np.inf, rng.uniform(0.45, 0.65) * t, rng.uniform(0.1, 0.18) * t)[kind]
    returns_at = (rng.uniform(0.35, 0.55) * t, np.inf, rng.uniform(0.82, 0.9) * t)[kind]
    x, y = motion.centre(returns_at if kind == 0 else leaves_at)
    to_edge = {(-1, 0): x, (1, 0): config.width - x, (0, -1): y, (0, 1): config.height - y}
    outward = min(to_edge, key=lambda direction: to_edge[direction])
    distance = to_edge[outward] + 1.3 * motion.radius
    per_frame = distance / (_TIME_TO_LEAVE * t)
    exit_velocity = (outward[0] * per_frame, outward[1] * per_frame)
    return replace(motion, leaves_at=leaves_at, returns_at=returns_at, exit_velocity=exit_velocity)


def _motions(rng: np.random.Generator, config: SyntheticConfig) -> list[Trajectory]:
    motions: list[Trajectory] = []
    for i in range(int(rng.integers(config.objects[0], config.objects[1] + 1))):
        if i > 0 and rng.random() < config.crossing:
            other = motions[int(rng.integers(i))]
            motion = _across(rng, _random_motion(rng, config), other, config.frames)
        else:
            candidates = [_random_motion(rng, config) for _ in range(_PLACEMENTS)]
            gaps = [_gap(candidate, motions, config.frames) for candidate in candidates]
            motion = candidates[int(np.argmax(gaps))]
        motions.append(motion)
    return [_with_excursion(rng, motion, config) if rng.random() < config.leaving else motion for motion in motions]


def _camera(rng: np.random.Generator, config: SyntheticConfig) -> Camera:
    reach = _CAMERA_REACH * config.short_side if config.camera_pan > 0 else 0.0
    direction = rng.uniform(0, 2 * np.pi)
    slow = 2 * np.pi / rng.uniform(16, 32, size=2)
    return Camera(
        centre=np.array([config.width, config.height]) / 2,
        sway=reach * np.array([np.cos(direction), np.sin(direction)]),
        zoom=config.camera_zoom * rng.random(),
        roll=np.deg2rad(config.camera_roll) * rng.random(),
        frequencies=np.array([config.camera_pan / _CAMERA_REACH, *slow]),  # the sway is fastest at camera_pan
        phases=rng.uniform(0, 2 * np.pi, size=3),
    )


def make_scene(rng: np.random.Generator, config: SyntheticConfig) -> Scene:
    """Draws a scene; classes, colours, textures and motions are independent of each other."""
    margin = round(_BACKGROUND_MARGIN * config.short_side)
    ground = random_colour(rng, saturation=(0.0, 0.6))
    background = paint(
        rng, config.height + 2 * margin, config.width + 2 * margin, colour=ground, contrast=config.background_contrast
    )
    actors = tuple(_dressed(rng, config, motion, background) for motion in _motions(rng, config))
    return Scene(actors, _camera(rng, config), background, margin)


def _dressed(
    rng: np.random.Generator, config: SyntheticConfig, motion: Trajectory, background: npt.NDArray[np.uint8]
) -> Actor:
    """An object with a class, and a texture that differs from the background."""
    mean = background.reshape(-1, 3).mean(axis=0).astype(np.float32) / 255
    texel = _TEXTURE_SPAN / _TEXTURE_SIZE
    texels = float_array([[texel, 0, texel / 2 - _TEXTURE_SPAN / 2], [0, texel, texel / 2 - _TEXTURE_SPAN / 2]])
    label = int(rng.integers(len(config.classes))) + 1
    colour = distant_colour(rng, mean, config.colour_distance)
    texture = paint(rng, _TEXTURE_SIZE, _TEXTURE_SIZE, colour=colour, contrast=config.object_contrast)
    return Actor(label, SHAPES[config.classes[label - 1]](), texture, texels, motion)


def place_actors(rng: np.random.Generator, config: SyntheticConfig, scene: Scene, *, count: int) -> list[Actor]:
    """Objects for a scene, each as far from those before it as can be found; the first do not depend on `count`."""
    motions = [actor.motion for actor in scene.actors]
    added = []
    for _ in range(count):
        candidates = [_random_motion(rng, config) for _ in range(_PLACEMENTS)]
        gaps = [_gap(candidate, motions, config.frames) for candidate in candidates]
        motions.append(candidates[int(np.argmax(gaps))])
        added.append(_dressed(rng, config, motions[-1], scene.background))
    return added
