"""From a scene to frames and visible masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.scene import Scene, make_scene
from stmask.data.synthetic.shapes import FloatArray, coverage, float_array, transform

_MAX_EXPOSURES = 7  # per frame interval
_VISIBLE = 0.5  # share of a pixel that an object covers for the pixel to be its own
_HALF_PIXEL = float_array([[0, 0, 0.5], [0, 0, 0.5]])
SPLITS = ("train", "valid")


@dataclass(frozen=True, slots=True)
class SyntheticVideo:
    """A rendered video with N objects, from back to front.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (N, T, H, W) bool, what is visible of each object at the middle of the exposure.
        labels: 1..K, index into the configuration's classes plus one.
    """

    frames: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    labels: tuple[int, ...]


def _compose(outer: FloatArray, inner: FloatArray) -> FloatArray:
    """The affine matrix (2, 3) that applies `inner`, then `outer`."""
    linear = outer[:, :2] @ inner
    linear[:, 2] += outer[:, 2]
    return linear


def _warp(image: npt.NDArray[np.uint8], matrix: FloatArray, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    size = (shape[1], shape[0])
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _draw(
    scene: Scene, t: float, height: int, width: int, masks: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """The scene at the instant t, without blur; fills `masks` (N, H, W), which must be False, with what is visible."""
    view = scene.camera.view(t)
    corner = float_array([[1, 0, -scene.background_offset], [0, 1, -scene.background_offset]])
    frame = _warp(scene.background, _compose(view, corner), (height, width))
    for i, actor in enumerate(scene.actors):
        pose = _compose(view, actor.motion.pose(t))
        # The centre of pixel i is at i in a pose, as in cv2 images, and at i + 0.5 in an outline in pixels.
        covered = coverage(transform(actor.outline, pose + _HALF_PIXEL), height, width)
        if covered is None:
            continue
        alpha, window = covered
        to_window = _compose(pose, actor.texels)
        to_window[:, 2] -= (window[1].start, window[0].start)
        texture = _warp(actor.texture, to_window, alpha.shape)
        cv2.blendLinear(texture, frame[window], alpha, 1 - alpha, frame[window])
        if masks is not None:
            visible = alpha >= _VISIBLE
            masks[:i, window[0], window[1]] &= ~visible
            masks[i, window[0], window[1]] = visible
    return frame


def _exposures(scene: Scene, t: float, shutter: float, size: float) -> int:
    """The number of instants to average so that nothing jumps by more than about a pixel between them."""
    if shutter == 0:
        return 1
    early, late = t - shutter / 2, t + shutter / 2
    first, last = scene.camera.view(early), scene.camera.view(late)
    corners = float_array([[0, 0, 1], [size, size, 1]])
    moved = [np.abs(corners @ (last - first).T).max()]
    for actor in scene.actors:
        change = _compose(last, actor.motion.pose(late)) - _compose(first, actor.motion.pose(early))
        moved.append(np.abs(change).sum(axis=1).max())
    return int(np.clip(np.ceil(max(moved)), 1, _MAX_EXPOSURES * max(1, np.ceil(shutter))))


def silhouettes(scene: Scene, config: SyntheticConfig) -> npt.NDArray[np.bool_]:
    """(N, T, H, W): what would be visible of each object if it were alone."""
    h, w = config.height, config.width
    whole = np.zeros((len(scene.actors), config.frames, h, w), dtype=np.bool_)
    for t in range(config.frames):
        view = scene.camera.view(t)
        for i, actor in enumerate(scene.actors):
            covered = coverage(transform(actor.outline, _compose(view, actor.motion.pose(t)) + _HALF_PIXEL), h, w)
            if covered is not None:
                alpha, window = covered
                whole[i, t, window[0], window[1]] = alpha >= _VISIBLE
    return whole


def render(scene: Scene, config: SyntheticConfig, rng: np.random.Generator) -> SyntheticVideo:
    """The scene as a video; the generator is for the sensor's noise."""
    h, w, t = config.height, config.width, config.frames
    frames = np.empty((t, h, w, 3), dtype=np.uint8)
    masks = np.zeros((len(scene.actors), t, h, w), dtype=np.bool_)
    for i in range(t):
        middle = _draw(scene, i, h, w, masks[:, i])
        n = _exposures(scene, i, config.shutter, max(h, w))
        light = np.zeros((h, w, 3), dtype=np.float32)
        for k in range(n):
            offset = config.shutter * ((k + 0.5) / n - 0.5)
            cv2.accumulate(middle if 2 * k + 1 == n else _draw(scene, i + offset, h, w), light)
        light /= n
        light += np.float32(config.noise) * rng.standard_normal((h, w, 3), dtype=np.float32)
        frames[i] = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    masks[masks.sum(axis=(2, 3)) < config.min_visible] = False
    return SyntheticVideo(frames, masks, tuple(actor.label for actor in scene.actors))


def generator(seed: int, split: str, index: int, *more: int) -> np.random.Generator:
    """The random numbers of video `index` of a split ("train" or "valid")."""
    return np.random.default_rng([seed, SPLITS.index(split), index, *more])


def render_video(config: SyntheticConfig, *, seed: int, split: str, index: int) -> SyntheticVideo:
    """Video `index` of a split ("train" or "valid"); it depends on these arguments only."""
    rng = generator(seed, split, index)
    return render(make_scene(rng, config), config, rng)
