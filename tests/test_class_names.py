"""Classes are matched by name: between networks, datasets, and the parts of a mixture."""

from __future__ import annotations

import pytest

from stmask.class_names import ids_by_name, matches
from stmask.errors import DataError

CUP_HAND = ("cup", "hand")


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        (["a", "b"], ["b", "a"], [1, 0]),
        (["a", "c"], ["a", "b"], [0, None]),
        (["Giant_panda", "tennis racket"], ["tennis_racket", "giant panda"], [1, 0]),
        (["a", "A"], ["A", "a"], [1, 0]),  # letters as classes
        (["a"], ["A", "a"], [1]),
        (["A ", "a_"], ["a"], [None, None]),  # either could be meant
        (["x_y"], ["X Y", "x Y"], [None]),
        (["人", "Tasse à café"], ["tasse à café", "人"], [1, 0]),
        ([], ["a"], []),
    ],
)
def test_matches(wanted: list[str], known: list[str], expected: list[int | None]) -> None:
    assert matches(wanted, known) == expected


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ({1: "cup", 2: "hand"}, (1, 2)),
        ({2: "hand", 1: "cup"}, (1, 2)),
        ({1: "hand", 2: "cup"}, (2, 1)),
        ({5: "Hand"}, (None, 5)),  # a part of the classes can be scored by itself
    ],
)
def test_ids_by_name(categories: dict[int, str], expected: tuple[int | None, ...]) -> None:
    assert ids_by_name(CUP_HAND, categories, network="n.ckpt", dataset="d.json") == expected


@pytest.mark.parametrize(
    ("names", "categories", "message"),
    [
        (CUP_HAND, {1: "dog", 2: "cat"}, r"n\.ckpt and d\.json do not have the same .* knows cup, hand, .* dog, cat;"),
        (CUP_HAND, {1: "cup", 2: "hand", 3: "dog"}, "knows cup, hand, the latter has cup, hand, dog"),
        (CUP_HAND, {}, "the latter has none"),
        (CUP_HAND, {3: "cup", 7: "cup"}, r"d\.json: the categories 3 and 7 are both called 'cup'"),
        (("cup", "cup"), {1: "cup"}, r"n\.ckpt: the labels 1 and 2 are both called 'cup'"),
        ([f"class {i}" for i in range(99)], {1: "dog"}, "class 39 and 59 more, the latter has dog"),
    ],
)
def test_other_classes_are_refused(names: list[str], categories: dict[int, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ids_by_name(names, categories, network="n.ckpt", dataset="d.json")
