"""Weights and frames to benchmark R50 networks with where there are no trained ones: `python tools/stand_in.py FOLDER`.

The weights are the tests' stand-ins, drawn from generators seeded by the tensors' names, and the frames are the tests'
clip, enlarged to 640 x 360 and shown to and fro; clip_1080p.mp4 is its beginning at 1920 x 1080. The background's bias
is such that a realistic number of objects is seen: speed depends on it. Accuracy means nothing here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from official.reference import R50, R50_ADA, R50_PLAIN, stand_in_weights, stored

from stmask.inference.video import VideoWriter

# file, variant, and what is added to the background's bias
NETWORKS = (
    ("stand_in_r50_ada_tf.pth", R50_ADA, 0.44),  # about 20 objects a frame
    ("stand_in_r50_tf.pth", R50, -0.28),  # without FCB, about 39 objects a frame
    ("stand_in_r50.pth", R50_PLAIN, -0.28),  # without FCB and TF, about 33
)
FRAMES, SIZE = 25, (640, 360)
VIDEO_FRAMES, VIDEO_SIZE = 10, (1920, 1080)


def main(folder: Path) -> None:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, variant, shift in NETWORKS:
        weights = {key: tensor.clone() for key, tensor in stand_in_weights(variant).items()}
        for key, tensor in weights.items():
            if "conf_layer." in key and key.endswith("bias"):
                tensor[0] += shift
        torch.save(weights, folder / name)
    (folder / "frames").mkdir(exist_ok=True)
    clip = stored("clip")["frames"]
    there_and_back = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    with VideoWriter(folder / "clip_1080p.mp4", fps=12, size=VIDEO_SIZE[::-1]) as writer:
        for index in range(FRAMES):
            image = clip[there_and_back[index % len(there_and_back)]]
            frame, large = (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for size in (SIZE, VIDEO_SIZE))
            cv2.imwrite(str(folder / "frames" / f"{index:05d}.png"), frame[:, :, ::-1])
            if index < VIDEO_FRAMES:
                writer.write(large)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
