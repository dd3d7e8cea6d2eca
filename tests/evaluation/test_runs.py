from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from evaluation.builders import rle
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.formats import runs
from stmask.formats.runs import decode, decode_mask, mask_areas


def run_lengths(mask: np.ndarray) -> list[int]:
    flat = mask.reshape(-1, order="F")
    return np.diff(np.flatnonzero(np.diff(flat, prepend=0)), prepend=0, append=flat.size).tolist()


@st.composite
def drawn_masks(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random.random((height, width)) < draw(st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]))


@settings(deadline=None)
@given(st.lists(drawn_masks(), min_size=1, max_size=6), st.integers(1, 200))
def test_masks_decode_to_their_runs(masks: list[np.ndarray], chunk: int) -> None:
    counts = [rle(mask)["counts"] for mask in masks]
    flat, starts = decode(counts)
    assert [flat[a:b].tolist() for a, b in pairwise(starts)] == [run_lengths(m) for m in masks]
    pixels = np.array([mask.size for mask in masks])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_CHUNK", chunk)
        assert mask_areas(counts, pixels).tolist() == [int(mask.sum()) for mask in masks]


@settings(deadline=None)
@given(drawn_masks())
def test_a_mask_decodes_to_its_pixels(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_mask(rle(mask)["counts"], *mask.shape), mask)


def test_large_runs_of_several_characters() -> None:
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[5:1990, 1000:1003] = True
    assert mask_areas([rle(mask)["counts"]], np.array([mask.size])).tolist() == [mask.sum()]


def test_no_masks() -> None:
    assert mask_areas([], np.zeros(0, dtype=np.int64)).shape == (0,)


BROKEN = {
    "empty": "",
    "ends inside a run": "P",
    "outside of the characters": "2/",
    "above them": "2p",
    "not ASCII": "2é",
    "beyond one byte": "2中",
    "endless": "o" * 20 + "0",
    "too few pixels": "1",
    "negative": "`21@NW2",
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_mask_has_no_area_and_harms_no_other(bad: str) -> None:
    good = rle(np.eye(6, dtype=bool))["counts"]
    for place in range(5):
        counts, expected = [good] * 5, [6] * 5
        counts[place], expected[place] = bad, -1
        assert mask_areas(counts, np.full(5, 36)).tolist() == expected
