"""How much of each factor is in a video, measured on what was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from stmask.data.synthetic.factors import Shot
from stmask.data.synthetic.render import SyntheticVideo, silhouettes


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Of one video; means over its objects and frames.

    Attributes:
        hidden: share of the pixels of the objects in the frame that another object hides.
        blur: pixels by which an object's centre moves in the image during the exposure.
        speed: pixels by which an object's centre moves from frame to frame before the background.
        scale_change: largest size (square root of the area) of an object divided by its smallest.
        camera: pixels by which the background moves in the image from frame to frame, at the frame's corners.
        objects: that are visible at all.
        likeness: of two objects: 0 if their classes differ, else 1 less the mean difference of their textures (0 to 1).
    """

    hidden: float
    blur: float
    speed: float
    scale_change: float
    camera: float
    objects: float
    likeness: float


def measure(shot: Shot, video: SyntheticVideo) -> Measures:
    """The measures of a shot that was rendered as `video`."""
    scene, config = shot.scene, shot.config
    motions = [actor.motion for actor in scene.actors]
    poses = np.array([[motion.pose(t) for motion in motions] for t in range(config.frames)])  # (T, N, 2, 3)
    views = np.array([scene.camera.view(t) for t in range(config.frames)])  # (T, 2, 3)
    centres = poses[..., 2]  # (T, N, 2)
    corners = np.array([[x, y, 1] for x in (0, config.width) for y in (0, config.height)])
    seen = np.einsum("tij,tnj->tni", views[:, :, :2], centres) + views[:, None, :, 2]
    sizes = np.sqrt(np.abs(np.linalg.det(poses[..., :2])))  # (T, N)
    whole = silhouettes(scene, config).sum()
    return Measures(
        hidden=1 - float(video.masks.sum() / max(whole, 1)),
        blur=config.shutter * _steps(seen),
        speed=_steps(centres),
        scale_change=float((sizes.max(axis=0) / sizes.min(axis=0)).mean()),
        camera=_steps(np.einsum("tij,cj->tci", views, corners)),
        objects=float(video.masks.any(axis=(1, 2, 3)).sum()),
        likeness=_likeness(shot),
    )


def _steps(points: npt.NDArray[np.float64]) -> float:
    """Mean length of the steps of points (T, N, 2) from frame to frame; 0 of one frame."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=2)
    return float(steps.mean()) if steps.size else 0.0


def _likeness(shot: Shot) -> float:
    pairs = [
        0.0 if a.label != b.label else 1 - float(np.abs(a.texture.astype(int) - b.texture).mean()) / 255
        for a, b in combinations(shot.scene.actors, 2)
    ]
    return float(np.mean(pairs)) if pairs else 0.0
