import math

import numpy as np
import pytest
from data.makers import compressed, rectangle, uncompressed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from stmask.data.segmentation import Encoding, decode, measure, pack

masks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


@given(masks)
def test_compressed_run_lengths_agree_with_pycocotools(mask):
    encoding, data, size = pack(compressed(mask))
    assert size == mask.shape
    assert np.array_equal(decode(encoding, data, *mask.shape), mask)


@given(masks)
def test_uncompressed_run_lengths_give_the_mask_back(mask):
    encoding, data, _ = pack(uncompressed(mask))
    assert np.array_equal(decode(encoding, data, *mask.shape), mask)


@given(masks)
def test_a_shortened_string_is_refused(mask):
    encoding, data, _ = pack(compressed(mask))
    with pytest.raises(ValueError, match="run"):
        decode(encoding, data[:-1], *mask.shape)


def test_a_mask_of_large_runs():
    mask = np.zeros((720, 1280), np.uint8)
    mask[100:700, 3:1200] = 1
    encoding, data, _ = pack(compressed(mask))
    assert np.array_equal(decode(encoding, data, 720, 1280), mask)


def test_polygons_are_filled_as_by_pycocotools():
    polygons = [[2.0, 2.0, 20.0, 2.0, 20.0, 15.0], [30, 30, 40, 30, 40, 40, 30, 40]]
    encoding, data, size = pack(polygons)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 48, 64)))
    assert encoding == Encoding.POLYGONS
    assert size is None
    assert np.array_equal(decode(encoding, data, 48, 64), expected)


@pytest.mark.parametrize("nothing", [None, [], {}, [[]], {"size": [4, 5], "counts": [20]}])
def test_what_holds_nothing_is_absent(nothing):
    assert pack(nothing)[0] == Encoding.ABSENT


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (7, "expected null"),
        ("abc", "expected null"),
        ("", "expected null"),
        (False, "expected null, run lengths or polygons, got false"),
        ({"counts": "abc"}, "'size'"),
        ({"size": [4], "counts": "abc"}, "'size'"),
        ({"size": [4, 5], "counts": 3}, "'counts'"),
        ({"size": ["4", 5], "counts": "abc"}, r"'size' must be \[height, width\], two integers .*got \['4', 5\]"),
        ({"size": [True, 20], "counts": [20]}, "'size' must be .*got .True, 20"),
        ({"size": [4, 5], "counts": [1, -2]}, "run length.*holds -2"),
        ({"size": [4, 5], "counts": [1, "x"]}, "run length.*holds 'x'"),
        ({"size": [4, 5], "counts": [19, True]}, "run length.*holds true"),
        ({"size": [4, 5], "counts": [19.5, 0.5]}, "run length.*holds 19.5"),
        ({"size": [4, 5], "counts": []}, "run lengths that fill the frame, it is empty"),
        ({"size": [4, 5], "counts": [10, 9]}, "cover 19 of 20 pixels"),
        ({"size": [4, 5], "counts": [2**32 + 10, 10]}, "cover 4294967316 of 20 pixels"),
        ({"size": [4, 5], "counts": ""}, "not the text of compressed run lengths"),
        ({"size": [4, 5], "counts": "é"}, "not the text of compressed run lengths"),
        ([[1, 2, 3, 4]], "three.*polygon 0 has 2 points"),
        ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]], "three.*polygon 1 has 2 points"),
        ([[1, 2, 3, 4, 5, 6], []], "three.*polygon 1 has 0 points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "pairs.*polygon 0 has 7 numbers"),
        ([1, 2, 3, 4, 5, 6], r"three.*one flat list: write \[\[x, y"),
        ([[1, 2], [3, 4], [5, 6]], "three.*these are pairs"),
        ([[[1, 2], [3, 4], [5, 6]]], "three.*these are pairs"),
        ([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 8], [7, 6]]], "three.*these are pairs"),
        ([[1, 2, 3, 4, 5, 6], None], "three.*polygon 1 is null"),
        ([[1, 2, 3, 4, 5, "6"]], "'6', which is not a number"),
        ([[1, 2, 3, 4, 5, None]], "null, which is not a number"),
        ([[1, 2, 3, 4, 5, True]], "true, which is not a number"),
        ([[1, 2, 3, 4, 5, math.nan]], "nan, which is not a finite number"),
        ([[1, 2, 3, 4, 5, -math.inf]], "-inf, which is not a finite number"),
        ([[1, 2, 3, 4, 5, 10**400]], "1000.*, which is not a finite number"),
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_named(broken, message):
    with pytest.raises(ValueError, match=message):
        pack(broken)


def test_whole_floats_are_integers():
    encoding, data, size = pack({"size": [4.0, 5.0], "counts": [6.0, 4, 10.0]})
    assert (encoding, size) == (Encoding.RUNS, (4, 5))
    assert decode(encoding, data, 4, 5).sum() == 4


@pytest.mark.parametrize("point", [2.1e8, -1e300, 1e5, -2.1e9])
def test_polygons_far_outside_of_their_frame_are_refused_and_not_drawn(point):
    encoding, data, _ = pack([[8, 8, 30, 8, 30, point]])
    with pytest.raises(ValueError, match="polygon 0 has the point .* far outside its frame of 64 x 48 pixels"):
        decode(encoding, data, 48, 64)
    with pytest.raises(ValueError, match="far outside its frame"):
        measure(encoding, data, 48, 64)


def test_polygons_may_leave_their_frame():
    encoding, data, _ = pack([[-300, -300, 700, -300, 700, 700, -300, 700]])
    assert decode(encoding, data, 48, 64).all()


def test_outlines_of_any_length_are_refused_and_many_polygons_drawn():
    encoding, data, _ = pack([[-600, 0, 600, 1] * 500])
    with pytest.raises(ValueError, match="the outlines are 1.2e.06 pixels long, too long for a frame of 64 x 48"):
        decode(encoding, data, 48, 64)
    squares = [[x, y, x + 1, y, x + 1, y + 1, x, y + 1] for x in range(0, 64, 2) for y in range(0, 48, 2)]
    encoding, data, _ = pack(squares)
    assert decode(encoding, data, 48, 64).sum() == len(squares)


def test_run_lengths_that_do_not_fill_the_frame():
    encoding, data, _ = pack(uncompressed(rectangle(3, 3, 5, 5)))
    with pytest.raises(ValueError, match="cover 3072 of 3008 pixels"):
        decode(encoding, data, 47, 64)


@given(masks)
def test_area_and_box_agree_with_pycocotools(mask):
    encoding, data, _ = pack(compressed(mask))
    rle = coco_mask.encode(np.asfortranarray(mask))
    area, box = measure(encoding, data, *mask.shape)
    assert area == coco_mask.area(rle)
    assert list(box) == coco_mask.toBbox(rle).tolist()
