from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from stmask import viz

GREY = np.full((120, 160, 3), 100, dtype=np.uint8)


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((120, 160), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def changed(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=2)


def test_colours_are_stable_and_well_apart() -> None:
    colours = [viz.track_colour(i) for i in range(16)]
    assert colours == [viz.track_colour(i) for i in range(16)]
    assert viz.track_colour(0) == viz.track_colour(64)
    lab = cv2.cvtColor(np.float32(colours)[None] / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(16)
    assert distance.min() > 25


def test_no_instances_gives_an_equal_copy() -> None:
    out = viz.draw(GREY, np.zeros((0, 120, 160), dtype=bool), track_ids=[], boxes=[], labels=[], scores=[])
    assert (out == GREY).all()
    assert not np.shares_memory(out, GREY)


def test_a_mask_is_tinted_and_the_rest_of_the_frame_untouched() -> None:
    frame = GREY.copy()
    out = viz.draw(frame, square(60, 60, 40)[None], track_ids=[3], opacity=0.5)
    assert (frame == GREY).all()
    expected = np.rint(0.5 * np.array(viz.track_colour(3)) + 50)
    assert np.abs(out[80, 80] - expected).max() <= 1
    ys, xs = np.nonzero(changed(out))
    assert xs.min() >= 58  # the outline is anti-aliased
    assert ys.max() <= 101


def test_the_first_instance_is_on_top_of_the_others() -> None:
    masks = np.stack([square(50, 50, 40), square(60, 60, 40)])
    out = viz.draw(GREY, masks, track_ids=[0, 1], opacity=1.0)
    assert tuple(out[85, 85]) == viz.track_colour(0)
    assert tuple(out[95, 95]) == viz.track_colour(1)


def test_an_empty_mask_and_a_box_over_the_border_are_drawn_without_complaint() -> None:
    masks = np.stack([np.zeros((120, 160), dtype=bool), square(0, 0, 20)])
    out = viz.draw(GREY, masks, track_ids=[0, 1], boxes=[(150, 100, 160, 120), (0, 0, 20, 20)], labels=[1, 2])
    assert tuple(out[119, 155]) == viz.track_colour(0)
    assert tuple(viz.draw(GREY, masks[:1], track_ids=[0])[60, 60]) == (100, 100, 100)


def test_a_supplemented_instance_has_a_dashed_box() -> None:
    kwargs: dict[str, Any] = {"track_ids": [0], "boxes": [(40, 40, 140, 110)]}
    none = np.zeros((1, 120, 160), dtype=bool)
    solid = changed(viz.draw(GREY, none, **kwargs, supplemented=[False]))[109, 40:140]
    dashed = changed(viz.draw(GREY, none, **kwargs, supplemented=[True]))[109, 40:140]
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.7


@pytest.mark.parametrize(
    ("label", "score", "caption"),
    [(None, None, "#7"), (2, None, "#7 dog"), (2, 0.834, "#7 dog 83%"), (3, 0.5, "#7 class 3 50%")],
)
def test_captions(label: int | None, score: float | None, caption: str) -> None:
    assert viz._caption(7, label, score, ("cat", "dog")) == caption


def test_captions_can_be_left_out() -> None:
    nothing = np.zeros((1, 120, 160), dtype=bool)
    out = viz.draw(GREY, nothing, track_ids=[1], boxes=[(40, 60, 80, 100)], labels=[1], captions=False)
    assert not changed(out)[:60].any()
    assert changed(viz.draw(GREY, nothing, track_ids=[1], boxes=[(40, 60, 80, 100)], labels=[1]))[:60].any()


@pytest.mark.parametrize("box", [(0, 0, 9, 9), (159, 119, 160, 120), (-5, -5, 3, 3), (60, 60, 90, 90)])
def test_labels_stay_inside_the_frame(box: tuple[int, int, int, int]) -> None:
    drawn = [GREY.copy(), GREY.copy()]
    for image, place in zip(drawn, (box, (60, 60, 90, 90)), strict=True):
        viz._draw_labels(image, ["#1 dog"], [place], [viz.track_colour(1)], hollow=[False], order=[0])
    assert changed(drawn[0]).sum() == changed(drawn[1]).sum()  # the whole plate, wherever its object is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.zeros((1, 60, 80), dtype=bool)}, "masks"),
        ({"boxes": []}, "boxes"),
        ({"labels": [1, 2]}, "labels"),
        ({"scores": []}, "scores"),
        ({"supplemented": []}, "supplemented"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"masks": square(0, 0, 5)[None], "track_ids": [1]}
    with pytest.raises(ValueError, match=message):
        viz.draw(GREY, **{**good, **arguments})


def test_a_sheet_places_its_frames_in_rows() -> None:
    frames = [np.full((20, 30, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    out = viz.sheet(frames, columns=2, gap=4)
    assert out.shape == (2 * 24 + 4, 2 * 34 + 4, 3)
    assert (out[4:24, 4:34] == 10).all()
    assert (out[4:24, 38:68] == 20).all()
    assert (out[28:48, 4:34] == 30).all()
    assert (out[28:48, 38:68] == out[0, 0]).all()


def test_a_sheet_takes_titles_and_frames_of_several_sizes() -> None:
    frames = [np.zeros((20, 30, 3), dtype=np.uint8), np.zeros((40, 20, 3), dtype=np.uint8)]
    plain, titled = viz.sheet(frames, columns=5), viz.sheet(frames, columns=5, titles=["a", "b"])
    assert titled.shape[0] > plain.shape[0]
    assert titled.shape[1] == plain.shape[1] == 2 * 38 + 8


@pytest.mark.parametrize("arguments", [{"frames": []}, {"columns": 0}, {"titles": ["a", "b"]}])
def test_a_sheet_refuses_what_does_not_fit(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sheet|titles"):
        viz.sheet(**{"frames": [GREY], "columns": 1, **arguments})
