"""Names in pictures and plots: what has letters is drawn, what has none becomes the class's number."""

import warnings

import cv2
import numpy as np
import pytest

from stmask import lettering, viz
from stmask.data.statistics import Statistics, plot
from stmask.lettering import class_label, for_plot, legible, text_mask

WITHOUT_LETTERS = ("\ud83d", "a\nb", "", "  ", "\U0010ffff")


@pytest.mark.parametrize("name", ["cup", "tasse à café", "Кружка", "ποτήρι", "cost $5", "a/b=c", "²"])
def test_names_with_letters_are_written(name):
    assert class_label(1, [name]) == name
    assert text_mask(name, 20).max() > 200


@pytest.mark.parametrize("name", WITHOUT_LETTERS)
def test_names_without_letters_become_numbers(name):
    assert class_label(2, ["cup", name]) == for_plot(name, "class 2") == "class 2"
    assert class_label(3, ["cup", name]) == "class 3"


@pytest.mark.parametrize("opencv", [5, 4])
def test_signs_that_only_opencv_may_have(monkeypatch, opencv):
    if opencv == 4 or cv2.__version__ < "5":
        monkeypatch.setattr(lettering, "_opencv_has", lambda letter: letter.isascii())
        assert class_label(1, ["人"]) == "class 1"
    else:
        assert class_label(1, ["人"]) == "人"
        assert not np.array_equal(text_mask("人", 30), text_mask("?", 30))
    assert class_label(1, ["é"]) == "é"
    assert for_plot("人", "class 1") == "class 1"  # matplotlib's own letters are others


def test_a_mask_of_text_is_as_high_for_every_text():
    assert text_mask("gÅ", 24).shape[0] == text_mask("a", 24).shape[0]
    assert text_mask(" ", 24).max() == 0
    assert text_mask("", 24).shape[1] == 1


def test_long_names_are_cut():
    assert legible("x" * 500, "") == "x" * 39 + "…"
    assert for_plot("$" * 3, "") == r"\$\$\$"


@pytest.mark.parametrize("name", [*WITHOUT_LETTERS, "x" * 5000, "人", "é", "$x^{"])
def test_any_name_is_drawn_without_harm(tmp_path, name):
    frame, mask = np.zeros((60, 90, 3), np.uint8), np.ones((1, 60, 90), bool)
    picture = viz.draw(frame, mask, track_ids=[1], labels=[1], class_names=[name])
    assert viz.sheet([picture], columns=1, titles=[name]).shape[0] > 60
    none = np.zeros(0)
    statistics = Statistics((name, "b"), np.array([2, 1]), none, none, none, none)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(statistics, tmp_path / "a.png", title=f"{name} train")
