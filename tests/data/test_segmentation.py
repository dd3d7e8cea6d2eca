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


@pytest.mark.parametrize("nothing", [None, [], {"size": [4, 5], "counts": []}, {"size": [4, 5], "counts": [20]}])
def test_what_holds_nothing_is_absent(nothing):
    assert pack(nothing)[0] == Encoding.ABSENT


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (7, "expected null"),
        ("abc", "expected null"),
        ({"counts": "abc"}, "'size'"),
        ({"size": [4], "counts": "abc"}, "'size'"),
        ({"size": [4, 5], "counts": 3}, "'counts'"),
        ({"size": [4, 5], "counts": [1, -2]}, "run length"),
        ({"size": [4, 5], "counts": [1, "x"]}, "run length"),
        ([[1, 2, 3, 4]], "three"),
        ([[1, 2, 3, 4, 5, 6, 7]], "pairs"),
        ([[1, 2, 3, 4, 5, "6"]], "number"),
    ],
)
def test_what_cannot_be_read_is_named(broken, message):
    with pytest.raises(ValueError, match=message):
        pack(broken)


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
