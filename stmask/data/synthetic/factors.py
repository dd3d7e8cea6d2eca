"""What makes videos hard, one factor at a time: a scene with more of one factor, and all else as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.scene import Actor, Camera, Scene, Trajectory, place_actors

STEPS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene and how it is filmed.

    Attributes:
        scene: what is there and how it moves.
        config: of the frames: size, number, shutter, noise.
    """

    scene: Scene
    config: SyntheticConfig


@dataclass(frozen=True, slots=True)
class Factor:
    """One that is raised in steps.

    Attributes:
        about: what an amount is, for the documentation.
        amounts: of steps 1, 2, 3.
        measure: the name of the measure (of `measures.Measures`) that rises with it.
        raised: the shot with an amount of it; the generator is for what the shot does not have yet.
    """

    about: str
    amounts: tuple[float, float, float]
    measure: str
    raised: Callable[[Shot, float, np.random.Generator], Shot]


def raise_factor(shot: Shot, name: str, step: int, rng: np.random.Generator) -> Shot:
    """A shot with a factor at a step, 1 to 3."""
    factor = FACTORS[name]
    return factor.raised(shot, factor.amounts[STEPS.index(step)], rng)


def _with_motions(shot: Shot, change: Callable[[Trajectory], Trajectory]) -> Shot:
    actors = tuple(replace(actor, motion=change(actor.motion)) for actor in shot.scene.actors)
    return replace(shot, scene=replace(shot.scene, actors=actors))


def _middle(config: SyntheticConfig) -> float:
    return (config.frames - 1) / 2


def _occluded(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    middle = _middle(shot.config)
    centres = [actor.motion.path(middle) for actor in shot.scene.actors]
    meeting = np.mean(centres, axis=0)

    def nearer(motion: Trajectory) -> Trajectory:
        dx, dy = share * (meeting - motion.path(middle))
        return replace(motion, shift=(float(dx), float(dy)))

    return _with_motions(shot, nearer)


def _blurred(shot: Shot, shutter: float, rng: np.random.Generator) -> Shot:
    return replace(shot, config=replace(shot.config, shutter=shutter))


def _faster(shot: Shot, times: float, rng: np.random.Generator) -> Shot:
    return _with_motions(shot, lambda motion: replace(motion, pace=times, middle=_middle(shot.config)))


def _rescaled(shot: Shot, amount: float, rng: np.random.Generator) -> Shot:
    def pulsing(motion: Trajectory) -> Trajectory:
        amplitude, frequency, phase = motion.pulse
        return replace(motion, pulse=(amplitude + amount, frequency, phase))

    return _with_motions(shot, pulsing)


def _shaken(shot: Shot, times: float, rng: np.random.Generator) -> Shot:
    camera, middle = shot.scene.camera, _middle(shot.config)
    sway = camera.frequencies[0] * np.array([1.0, 0.0, 0.0])
    moved: Camera = replace(
        camera,
        zoom=camera.zoom * times,
        roll=camera.roll * times,
        frequencies=camera.frequencies + (times - 1) * sway,
        phases=camera.phases - (times - 1) * middle * sway,  # so that it looks to the same side in the middle
    )
    return replace(shot, scene=replace(shot.scene, camera=moved))


def _crowded(shot: Shot, more: float, rng: np.random.Generator) -> Shot:
    scene = shot.scene
    added = place_actors(rng, shot.config, scene, count=round(more))
    return replace(shot, scene=replace(scene, actors=(*reversed(added), *scene.actors)))


def _alike(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    first, *others = shot.scene.actors

    def like_the_first(actor: Actor) -> Actor:
        texture = cv2.addWeighted(first.texture, share, actor.texture, 1 - share, 0)
        return replace(actor, label=first.label, outline=first.outline, texture=np.asarray(texture, dtype=np.uint8))

    return replace(shot, scene=replace(shot.scene, actors=(first, *map(like_the_first, others))))


FACTORS: dict[str, Factor] = {
    "occlusion": Factor(
        "share of the way by which the objects' paths are shifted towards each other, as they lie in mid-video",
        (0.3, 0.5, 0.7),
        "hidden",
        _occluded,
    ),
    "blur": Factor(
        "exposure, in frame intervals; more than one is a camera that adds up frames",
        (1.5, 2.75, 4.0),
        "blur",
        _blurred,
    ),
    "speed": Factor("how many times as fast the objects go along their paths", (1.5, 2.25, 3.0), "speed", _faster),
    "scale": Factor(
        "added to the largest logarithm of an object's change of size", (0.15, 0.3, 0.45), "scale_change", _rescaled
    ),
    "camera": Factor(
        "how many times as fast the camera pans, and as far as it zooms and rolls", (3.0, 6.0, 9.0), "camera", _shaken
    ),
    "crowding": Factor("objects more, behind those that are there", (1.0, 2.0, 4.0), "objects", _crowded),
    "lookalikes": Factor(
        "share of one object's texture in that of all others, which are of its class",
        (0.3, 0.65, 1.0),
        "likeness",
        _alike,
    ),
}
"""By the names that their validation sets have: `valid_occlusion_1`."""
