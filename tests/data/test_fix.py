"""`stmask data check --fix`: what is fixed, what is left to be named, and that nothing else changes."""

import json

import pytest
from data.makers import compressed, contents, rectangle, write_frames

from stmask.commands.data_check import main
from stmask.data import fix
from stmask.data.check import check_split
from stmask.errors import ConfigError, DataError, OutputError

GOOD = [4, 8, 16, 8, 16, 20, 4, 20]  # the first square of the first video
PAIRS = [[4, 8], [16, 8], [16, 20], [4, 20]]
BOX = [4.0, 8.0, 12.0, 12.0]


def document(mask=None, **changes):
    """A video of two frames; the first annotation has `mask` in the first."""
    made = contents(videos=1, frames=2)
    first = made["annotations"][0]
    first |= {
        "bboxes": [[4, 8, 12, 12], [9, 8, 12, 12]],
        "areas": [144, 144.0],
        "note": "\u4eba",
        "score": 1.50,
    } | changes
    if mask is not None:
        first["segmentations"][0] = mask
    return made


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_frames(folder, document())
    return folder


def fixed(tmp_path, made, frames):
    """The fixed document, its text, the text before, and the exit status."""
    (tmp_path / "a.json").write_text(made if isinstance(made, str) else json.dumps(made, indent=1))
    status = main([str(tmp_path / "a.json"), "--frame-folder", str(frames), "--fix", str(tmp_path / "new/b.json")])
    text = (tmp_path / "new/b.json").read_text()
    return json.loads(text), text, (tmp_path / "a.json").read_text(), status


@pytest.mark.parametrize(
    ("mask", "expected", "done"),
    [
        ([GOOD, [40, 40, 41, 41]], [GOOD], fix.DEGENERATE),
        ([GOOD, [40, 40, 50, 40, 60, 40]], [GOOD], fix.DEGENERATE),
        ([[], GOOD, None], [GOOD], fix.DEGENERATE),
        ([GOOD, [0, 0, 10, 10, 10, 0, 0, 10]], None, None),  # two triangles, whose areas only cancel
        (GOOD, [GOOD], fix.NESTING),
        (PAIRS, [GOOD], fix.NESTING),
        ([PAIRS, GOOD], [GOOD, GOOD], fix.NESTING),
        ([[]], "null", fix.EMPTY),
        ({}, "null", fix.EMPTY),
        ([[1, 1, 20, 1, 30, 1]], "null", fix.EMPTY),  # drawn, it has no pixel
        (compressed(rectangle(0, 0, 0, 0)), "null", fix.EMPTY),
        ([[40, 40, 41, 41]], None, None),  # the object is there, but not its outline
        ([GOOD, [1, 2, 3, 4, 5]], None, None),
        ([GOOD, "abc"], None, None),
    ],
)
def test_masks(tmp_path, frames, capsys, mask, expected, done):
    made = document(mask)
    new, text, before, status = fixed(tmp_path, made, frames)
    first = new["annotations"][0]
    if expected is None and mask != [GOOD, [0, 0, 10, 10, 10, 0, 0, 10]]:
        assert text == before
        assert status == 1
        assert "nothing to fix" in capsys.readouterr().out
        return
    assert status == 0
    if expected == "null":
        assert [first[key][0] for key in ("segmentations", "bboxes", "areas")] == [None] * 3
    elif expected is not None:
        assert first["segmentations"][0] == expected
        assert first["bboxes"][0] == [4, 8, 12, 12]
    else:
        assert first["segmentations"][0] == mask
    if done is not None:
        assert f"{done}: " in capsys.readouterr().out
    assert first["segmentations"][1] == made["annotations"][0]["segmentations"][1]
    assert (first["note"], first["score"]) == ("\u4eba", 1.5)


@pytest.mark.parametrize(
    ("changes", "boxes", "areas"),
    [
        ({"bboxes": [[4, 8, 16, 20], [9, 8, 12, 12]]}, [BOX, [9, 8, 12, 12]], [144, 144.0]),
        ({"bboxes": [[5, 8, 12, 12], None]}, [[5, 8, 12, 12], [9.0, 8.0, 12.0, 12.0]], [144, 144.0]),  # a pixel is fine
        ({"bboxes": [[1]], "areas": ["x", 9]}, [BOX, [9.0, 8.0, 12.0, 12.0]], [144.0, 144.0]),
        ({"bboxes": None}, None, [144, 144.0]),
    ],
)
def test_boxes_and_areas(tmp_path, frames, changes, boxes, areas):
    new, _, _, status = fixed(tmp_path, document(**changes), frames)
    assert status == 0
    assert [new["annotations"][0][key] for key in ("bboxes", "areas")] == [boxes, areas]
    assert not check_split(tmp_path / "new/b.json", root=tmp_path, split="b", frames=frames).problems


@pytest.mark.parametrize("places", [(0,), (1,), (0, 1, 3), (2,)])
def test_repetitions_leave_no_gap_in_the_text(tmp_path, frames, places):
    made = document()
    first = made["annotations"][0]
    for number, place in enumerate(places):
        made["annotations"].insert(place, first | {"id": 100 + number})
    new, text, before, status = fixed(tmp_path, made, frames)
    assert status == 0
    assert len(new["annotations"]) == 2
    lines = before.splitlines()
    assert all(line in lines for line in text.splitlines() if "]" not in line and "}" not in line)


def test_everything_else_keeps_its_text(tmp_path, frames):
    good = json.dumps(document()["annotations"][1])
    text = (
        '\ufeff { "info":{"x":1.50, "y":1e3},"annotations" :[\n' + good + ",\n "
        + json.dumps(document([GOOD, []])["annotations"][0]) + '],  "videos":' + json.dumps(document()["videos"])
        + ',\t"categories": [ {"id": 7, "name": "caf\u00e9"}, {"name":"b", "id":3}]}\r\n'
    )  # fmt: skip
    (tmp_path / "a.json").write_bytes(text.encode())
    assert fix.fix_file(tmp_path / "a.json", tmp_path / "b.json") == {fix.DEGENERATE: 1}
    written = (tmp_path / "b.json").read_bytes().decode()
    start, end = text.index(good) + len(good), text.index("],  ")
    assert written.startswith(text[1 : start + 3])
    assert written.endswith(text[end:])
    assert json.loads(written)["annotations"][1]["segmentations"][0] == [GOOD]


def test_images_are_fixed_too(tmp_path):
    made = {
        "categories": [{"id": 1, "name": "a"}],
        "videos": [{"id": 5, "width": 9, "height": 9}],  # what belongs together, not what is fixed
        "images": [{"id": 5, "file_name": "5.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 1, "segmentation": [GOOD, []], "bbox": [4, 8, 16, 20], "area": 1}
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(made))
    done = fix.fix_file(tmp_path / "a.json", tmp_path / "b.json")
    assert done == {fix.DEGENERATE: 1, fix.BOXES: 1, fix.AREAS: 1}
    (entry,) = json.loads((tmp_path / "b.json").read_text())["annotations"]
    assert (entry["segmentation"], entry["bbox"], entry["area"]) == ([GOOD], BOX, 144.0)


def test_nothing_is_written_over(tmp_path, frames):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(document()))
    (tmp_path / "valid.json").write_text(json.dumps(document()))
    (tmp_path / "link.json").symlink_to(path)
    common = ["--frame-folder", str(frames), "--fix"]
    for out in ("train.json", "valid.json", "link.json"):
        with pytest.raises(OutputError, match=f"{out} exists already"):
            main([str(path), *common, str(tmp_path / out)])
    with pytest.raises(ConfigError, match="--fix fixes one file: choose by --split train or valid"):
        main([str(tmp_path), *common, str(tmp_path / "b.json")])
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be fixed because it cannot be read"):
        main([str(path), *common, str(tmp_path / "b.json")])
    assert path.read_text() == "{"
    assert not (tmp_path / "b.json").exists()


def test_null_among_annotations_is_counted_and_absurd_sizes_are_left_to_the_check(tmp_path, frames, capsys):
    made = document([GOOD, [1, 2]])
    made["annotations"].append(None)
    new, _, _, status = fixed(tmp_path, made, frames)
    assert status == 0
    assert len(new["annotations"]) == 2
    assert f"{fix.NOTHING}: 1" in capsys.readouterr().out
    made["videos"][0]["width"] = 1e300
    (tmp_path / "c.json").write_text(json.dumps(made))
    assert fix.fix_file(tmp_path / "c.json", tmp_path / "d.json") == {fix.NOTHING: 1}
