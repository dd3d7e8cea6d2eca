from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.builders import rle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stmask.errors import DataError
from stmask.evaluation.overlap import BrokenTrackError, intersections, pack_checked
from stmask.evaluation.reading import read_large_json, read_tracks_json
from stmask.formats import packed
from stmask.formats.packed import PackedTrack, pack, read_packed
from stmask.formats.runs import mask_areas

both = pytest.mark.usefixtures("each_implementation")
compiled = pytest.mark.skipif(packed._compiled is None, reason="the C module is not built")
drawn = settings(deadline=None, suppress_health_check=list(HealthCheck))

# few characters, so that some texts are masks of 16 pixels
SHORT = st.text('0123456789?@OPPQ_`ao~\\" é', max_size=12)


@st.composite
def masks(draw: st.DrawFn, height: int = 7, width: int = 9) -> np.ndarray:
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((height, width)) < density


@st.composite
def long_texts(draw: st.DrawFn) -> tuple[str, int]:
    """A mask of many runs, perhaps with one character changed, and its pixels."""
    side = draw(st.integers(1, 60))
    text = rle(draw(masks(side, side)))["counts"]
    place = draw(st.integers(0, 4 * len(text)))
    return text[:place] + draw(st.sampled_from("0@OPo\\_ ")) + text[place + 1 :] if place < len(text) else text, side


@drawn
@given(st.lists(SHORT, max_size=5))
def test_areas_of_any_text(texts: list[str]) -> None:
    (track,) = pack([[{"size": [4, 4], "counts": text} for text in texts]], [(4, 4)])
    assert track.areas.tolist() == mask_areas(texts, np.full(len(texts), 16)).tolist()


@drawn
@given(st.lists(long_texts(), max_size=5))
def test_areas_of_texts_that_are_nearly_sound(drawn_texts: list[tuple[str, int]]) -> None:
    tracks = pack([[{"size": [n, n], "counts": text}] for text, n in drawn_texts], [(n, n) for _, n in drawn_texts])
    expected = mask_areas([text for text, _ in drawn_texts], np.array([n * n for _, n in drawn_texts], dtype=np.int64))
    assert [track.areas.tolist() for track in tracks] == [[area] for area in expected.tolist()]


@both
@pytest.mark.parametrize("seed", range(20))
def test_shared_pixels(seed: int) -> None:
    dice = np.random.default_rng(seed)
    ours, theirs = dice.integers(1, 4, size=2).tolist()

    def tracks(count: int) -> list[list[np.ndarray | None]]:
        densities = dice.choice([0.0, 0.1, 0.5, 1.0], size=(count, 4))
        return [[dice.random((7, 9)) < p if dice.random() < 0.8 else None for p in row] for row in densities]

    first, second = tracks(ours), tracks(theirs)
    sides = [
        pack_checked([[m if m is None else rle(m) for m in t] for t in s], [(7, 9)] * len(s))[0]
        for s in (first, second)
    ]
    a, b = (
        np.array([[np.zeros((7, 9)) if m is None else m for m in t] for t in s]).reshape(-1, 4, 63)
        for s in (first, second)
    )
    np.testing.assert_array_equal(intersections(*sides), np.einsum("dtp,gtp->tdg", a, b))


@both
def test_a_track_is_a_sequence_of_masks() -> None:
    frames = [
        rle(np.eye(6, dtype=bool)),
        None,
        rle(np.zeros((6, 6), dtype=bool)),
        rle(np.random.default_rng(4).random((6, 6)) < 0.5),
    ]
    other, track = pack([[None, None], frames], [(2, 2), (6, 6)])
    assert (list(other), list(track), list(track[1:3])) == ([None, None], frames, frames[1:3])
    assert (track.frames(), track[1:].frames(), track.areas.tolist()[:3]) == ([0, 2, 3], [1, 2], [6, 0, 0])
    assert pack([track], [(6, 6)])[0] is track
    with pytest.raises(BrokenTrackError, match="frame 0 of track 1"):
        pack_checked([other, track], [(9, 9), (6, 7)])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text('aé"\\[]{}:,N\n', max_size=6)
    | st.sampled_from(["segmentations", "counts", '"segmentations": [']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "size", "segmentations"]), inner),
    max_leaves=8,
)
MASKS = (
    st.none()
    | st.builds(lambda text, h, w: {"size": [h, w], "counts": text}, SHORT, st.integers(-1, 9), st.integers(1, 2**21))
    | st.builds(lambda mask: {"counts": rle(mask)["counts"], "size": [7, 9]}, masks())
)
LISTS = st.lists(st.tuples(st.lists(MASKS, max_size=4), VALUES), min_size=1, max_size=4)


def plain(value: Any) -> Any:
    """The value with lists in place of packed tracks."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, PackedTrack)) else value


@drawn
@given(LISTS, st.sampled_from([None, 1]), st.booleans())
def test_a_file_with_masks_is_read_as_any_json(
    tmp_path: Path, lists: list, indent: int | None, ascii_only: bool
) -> None:
    content = [{"a": value, "segmentations": frames, "size": value} for frames, value in lists]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    found = read_tracks_json(path)
    assert plain(found) == content == read_large_json(path)
    for entry in found:
        track = entry["segmentations"]
        if isinstance(track, PackedTrack):
            whole = [(m["counts"], m["size"][0] * m["size"][1]) for m in track if m is not None]
            expected = mask_areas([text for text, _ in whole], np.array([n for _, n in whole], dtype=np.int64))
            assert track.areas[track.frames()].tolist() == expected.tolist()


@compiled
@pytest.mark.parametrize("form", ['{"size": [7, 9], "counts": "o0"}', '{ "counts" :"o0","size":[ 7 ,9 ] }'])
def test_usual_lists_are_packed(form: str) -> None:
    rest, tracks = read_packed(
        b'[{"segmentations": [null, %s, null]}, {"segmentations":[%s]}]' % ((form.encode(),) * 2)
    ) or (b"", iter(()))
    assert json.loads(rest, parse_constant=lambda _: next(tracks).frames()) == [
        {"segmentations": [1]},
        {"segmentations": [0]},
    ]


UNUSUAL = {
    "a NaN": '[{"score": NaN, "segmentations": [null]}]',
    "no masks": '[{"segmentations": []}]',
    "a polygon": '[{"segmentations": [[[1, 2, 3, 4, 5, 6]]]}]',
    "an escape": '[{"segmentations": [{"size": [1, 1], "counts": "\\u0031"}]}]',
    "a size of 0": '[{"segmentations": [{"size": [0, 1], "counts": "1"}]}]',
    "a float as size": '[{"segmentations": [{"size": [1.0, 1], "counts": "1"}]}]',
    "a huge size": '[{"segmentations": [{"size": [1, 99999999999999999999], "counts": "1"}]}]',
    "another key": '[{"segmentations": [{"size": [1, 1], "counts": "1", "a": 1}]}]',
    "a size twice": '[{"segmentations": [{"size": [1, 1], "size": [1, 1], "counts": "1"}]}]',
    "a text": '["\\"segmentations\\": [null]"]',
    "a text without end": '["segmentations',
    "a list without end": '[{"segmentations": [null',
}


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_lists_stay_where_they_are(text: str) -> None:
    assert read_packed(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"segmentations": [null], "segmentations": [null]}]', "has the key 'segmentations' twice"),
        ('[{"segmentations": [null]}, ]', "not valid JSON (line 1, column "),
        ('[{"segmentations": [null], "a": "é"}]', "is not UTF-8 (it holds the byte 0xe9)"),
    ],
)
def test_what_is_wrong_beside_masks_is_said_of_the_whole_text(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    for read in (read_tracks_json, read_large_json):
        with pytest.raises(DataError) as caught:
            read(path)
        assert message in str(caught.value)


@compiled
def test_any_bytes_are_scanned_in_bounds() -> None:
    sound = json.dumps([{"segmentations": [rle(np.eye(20, dtype=bool)), None], "a\\": 'x"\\'}]).encode()
    dice = random.Random(0)
    for _ in range(3000):
        text = bytearray(sound[: dice.randrange(len(sound) + 1)])
        for _ in range(dice.randrange(4) if text else 0):
            text[dice.randrange(len(text))] = dice.choice(b'"\\[]{},:0oP\xff N')
        found = packed._compiled.scan(bytes(text))
        if found is not None:
            table = np.frombuffer(found[1], dtype=packed._ROW)
            assert (table["begin"] + table["length"] <= len(text)).all()
            packed._compiled.areas(bytes(text), found[1])


@compiled
def test_the_c_module_refuses_what_lies_outside() -> None:
    (track,) = pack([[rle(np.eye(6, dtype=bool))]], [(6, 6)])
    text, table = track.masks.text, track.masks.table.copy()
    one = np.array([[1, 1, 1]])
    for name, value in (("begin", -1), ("begin", 2**40), ("length", -1), ("length", 10**6)):
        broken = table.copy()
        broken[name] = value
        with pytest.raises(ValueError, match="outside of its text"):
            packed._compiled.areas(text, broken.tobytes())
        with pytest.raises(ValueError, match="outside of its text"):
            packed._compiled.intersections(text, table.tobytes(), text, broken.tobytes(), one.tobytes(), True)
    for group in ([1, 1, 2], [1, 2, 1], [-1, -1, -1], [2**62, 4, 1], [0, 0, 0], [2**31 - 1, 2**31 - 1, 2**31 - 1]):
        plan = np.array(group, dtype=np.int64).tobytes()
        with pytest.raises(ValueError, match="the groups"):
            packed._compiled.intersections(text, table.tobytes(), text, table.tobytes(), plan, True)
