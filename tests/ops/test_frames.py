from __future__ import annotations

import numpy as np
import pytest
import torch

from stmask.ops.frames import FramePreprocessor


def test_resized_normalised_and_padded() -> None:
    preprocessor = FramePreprocessor(height=20, width=40, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 5.0))
    image = np.full((35, 70, 3), (12, 26, 40), dtype=np.uint8)
    got = preprocessor(image)
    assert got.shape == (3, 32, 64) == (3, *preprocessor.padded_size)
    torch.testing.assert_close(got[:, :20, :40].mean(dim=(1, 2)), torch.tensor([2.0, 3.0, 2.0]))
    assert got[:, 20:].abs().max() == 0
    assert got[:, :, 40:].abs().max() == 0


def test_restored_to_look_at() -> None:
    preprocessor = FramePreprocessor(height=20, width=40)
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    restored = preprocessor.restore(preprocessor(image))
    assert (restored[:20, :40] == image).all()
    assert (restored[20:] == np.rint(preprocessor.mean)).all()


def test_the_papers_input_is_padded_to_384() -> None:
    assert FramePreprocessor().padded_size == (384, 640)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        FramePreprocessor(height=0)
    for wrong in ({"std": (58.0, 0.0, 57.0)}, {"std": (58.0, float("nan"), 57.0)}, {"mean": (float("inf"), 0.0, 0.0)}):
        with pytest.raises(ValueError, match="mean must be finite and std positive"):
            FramePreprocessor(**wrong)
