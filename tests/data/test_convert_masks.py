"""Folders of mask images as they come from tools and archives: what becomes of them, and what is said."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stmask.commands.data_convert import main
from stmask.data.convert import Notes, from_masks
from stmask.errors import DataError, OutputError
from stmask.files import read_json

SHAPE = (6, 8)
ORIENTATION = 0x0112


def numbers(*values, dtype=np.uint8):
    """A mask image in which each value has two pixels or more, the first one in a column of its own place."""
    mask = np.zeros(SHAPE, dtype)
    for place, value in enumerate(values):
        mask[1:6, 2 * place : 2 * place + 2] = value
    return mask


def write(path, image, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


def frames_and_masks(root, masks, *, video="v", names=None):
    """Frames beside masks of the same names; `masks` are images or what `write_mask` wants."""
    for position, mask in enumerate(masks):
        name = names[position] if names else str(position)
        write(root / f"frames/{video}/{name}.png", np.full((*SHAPE, 3), 90, np.uint8))
        write(root / f"masks/{video}/{name}.png", mask)
    return root / "frames", root / "masks"


def convert(root, notes=None, **how):
    return from_masks(root / "frames", root / "masks", notes=notes, **how)


def shaded(value):
    """One bit per pixel, black and white."""
    return Image.fromarray(numbers(value) > 0)


@pytest.mark.parametrize(
    ("masks", "tracks", "said"),
    [
        ([numbers(255)] * 2, 1, "values 0 and 255 alone, taken for one object: 1, first: v"),
        ([numbers(255), numbers(0)], 1, "0 and 255 alone"),
        ([numbers(1, 2, 255)] * 2, 2, "255 beside other values, taken for void: 1"),
        ([numbers(1), numbers(255)], 1, "255 beside other values"),
        ([numbers(1, 300, dtype=np.uint16)] * 2, 2, None),
        ([numbers(255, 300, dtype=np.uint16)] * 2, 2, None),
        ([numbers(65535, dtype=np.uint16)] * 2, 1, "0 and 65535 alone"),
        ([numbers(3, 300, 65535, dtype=np.uint16)] * 2, 2, "65535 beside other values"),
        ([numbers(1001, 2003, 10000, dtype=np.uint16)] * 2, 2, "10000, left out as MOTS ignores them"),
        ([numbers(1001, 2003, dtype=np.uint16)] * 2, 2, "coded as in MOTS"),
        ([np.dstack([numbers(1, 2), np.full(SHAPE, 255, np.uint8)])] * 2, 2, None),
        ([shaded(1)] * 2, 1, None),
        ([Image.fromarray(numbers(1)), Image.fromarray(numbers(1, 2))], 2, None),
        ([numbers(0, 7), numbers(0)], 1, None),
        ([np.arange(1, 49, dtype=np.uint8).reshape(SHAPE)] * 2, 48, "objects that never have 10 pixels"),
    ],
)
def test_the_numbers_in_masks(tmp_path, masks, tracks, said):
    frames_and_masks(tmp_path, masks)
    notes = Notes()
    document = convert(tmp_path, notes)
    assert len(document["annotations"]) == tracks
    assert said is None or said in "\n".join(notes)


def palette(first):
    image = Image.fromarray(numbers(1, 2))
    image.putpalette([0, 0, 0, *first, 9, 9, 9])
    return image


@pytest.mark.parametrize(("second", "said"), [((250, 0, 0), False), ((0, 250, 0), True)])
def test_palettes_of_one_video_should_agree(tmp_path, second, said):
    frames_and_masks(tmp_path, [palette((250, 0, 0)), palette(second)])
    notes = Notes()
    assert len(convert(tmp_path, notes)["annotations"]) == 2
    assert ("another colour than before" in "\n".join(notes)) is said


def test_grey_of_four_bits_and_grey_of_sixteen_beside_transparency(tmp_path):
    """Decoders spread the first over 0..255 and make colours of the second."""
    mask = numbers(3)
    frames_and_masks(tmp_path, [mask] * 2)
    _as_grey_of_four_bits(tmp_path / "masks/v/1.png", mask)
    _as_deep_grey_and_alpha(tmp_path / "masks/v/0.png", mask)
    assert [track["areas"] for track in convert(tmp_path)["annotations"]] == [[10.0, 10.0]]


def _png(path, mask, *, depth, colour_type, row):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row(values.tolist()) for values in mask))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _as_grey_of_four_bits(path, mask):
    _png(
        path,
        mask,
        depth=4,
        colour_type=0,
        row=lambda r: bytes(a << 4 | b for a, b in zip(r[::2], r[1::2], strict=True)),
    )


def _as_deep_grey_and_alpha(path, mask, alpha=255):
    _png(path, mask, depth=16, colour_type=4, row=lambda r: b"".join(bytes([0, v, alpha, alpha]) for v in r))


def jpeg(path):
    write(path.with_suffix(".jpg"), numbers(1)).rename(path)


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 3, (40, 40), np.uint8)
    path.write_bytes(write(path, noise).read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: write(path, np.zeros((*SHAPE, 3), np.uint8)), r"1\.png has colours \(RGB\), expected one number"),
        (lambda path: write(path, np.zeros((*SHAPE, 4), np.uint8)), r"1\.png has colours \(RGBA\)"),
        (jpeg, r"1\.png cannot be read: it is not a PNG file"),
        (truncated, r"1\.png cannot be read: .*truncated"),
        (lambda path: path.write_bytes(b""), r"1\.png cannot be read"),
        (
            lambda path: write(path, np.zeros((3, 4), np.uint8)),
            r"1\.png is 4 x 3, the first one of its video is 8 x 6",
        ),
        (
            lambda path: _as_deep_grey_and_alpha(path, numbers(1), alpha=0),
            r"1\.png hides numbers behind .* transparency",
        ),
        (lambda path: shutil.copy(path, path.with_suffix(".PNG")), r"1\.png have the same name|1\.PNG and 1\.png"),
    ],
)
def test_masks_that_cannot_be_used_are_named(tmp_path, spoil, message):
    frames, masks = frames_and_masks(tmp_path, [numbers(1)] * 2)
    spoil(masks / "v/1.png")
    with pytest.raises(DataError, match=message):
        main(["masks-to-ytvis", str(frames), str(masks), str(tmp_path / "out/train.json")])
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_nothing_but_background(tmp_path):
    frames_and_masks(tmp_path, [numbers(0)])
    with pytest.raises(DataError, match="no object in any mask"):
        convert(tmp_path)
    frames_and_masks(tmp_path, [numbers(1)], video="w")
    notes = Notes()
    assert len(convert(tmp_path, notes)["videos"]) == 2
    assert "videos without an object: 1, first: v" in notes


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["0", "1", "2", "10", "11"], ["0", "1", "2", "10", "11"]),
        (["08", "9", "010"], ["08", "9", "010"]),
        (["-1", "-2", "0"], ["-2", "-1", "0"]),
        (["cam2_1", "cam10_1", "cam2_12", "cam2_9"], ["cam2_1", "cam2_9", "cam2_12", "cam10_1"]),
    ],
)
def test_frames_are_in_the_order_of_their_numbers(tmp_path, names, order):
    frames_and_masks(tmp_path, [numbers(1)] * len(names), names=names)
    (video,) = convert(tmp_path)["videos"]
    assert video["file_names"] == [f"v/{name}.png" for name in order]


def test_two_frames_of_one_number_or_name(tmp_path):
    frames_and_masks(tmp_path, [numbers(1)] * 3, names=["1", "01", "2"])
    notes = Notes()
    assert convert(tmp_path, notes)["videos"][0]["file_names"] == ["v/01.png", "v/1.png", "v/2.png"]
    assert "masks with the same number, in the order of their names: 1, first: 01 and 1 of v" in notes
    write(tmp_path / "frames/v/2.jpg", np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(DataError, match=r"v/2\.jpg and 2\.png have the same name"):
        convert(tmp_path)


def test_names_that_tools_and_people_give(tmp_path):
    """Hidden files of macOS, capital suffixes, accents in two spellings, links, and what lies beside the images."""
    video = "café à = b, 1"
    frames, masks = frames_and_masks(tmp_path, [numbers(1)] * 2, video=video)
    (masks / video).rename(masks / "cafe\u0301 a\u0300 = b, 1")
    own = masks / "cafe\u0301 a\u0300 = b, 1"
    (own / "1.png").rename(own / "1.PNG")
    for hidden in (own / "._0.png", masks / "__MACOSX/v/._0.png", masks / "._x.png", frames / video / "._0.jpg"):
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(b"\0\5\26\7Mac OS X")
    (frames / "linked").symlink_to(frames / video)
    (masks / "linked").symlink_to(own)
    (own / "notes.txt").write_text("")
    notes = Notes()
    document = convert(tmp_path, notes)
    assert [v["file_names"] for v in document["videos"]] == [
        [f"{name}/0.png", f"{name}/1.png"] for name in (video, "linked")
    ]
    assert list(notes) == [f"files that are not PNG images, left out: 2, first: {own / 'notes.txt'}"]


def test_what_has_no_partner_is_counted(tmp_path):
    frames, masks = frames_and_masks(tmp_path, [numbers(1)] * 4)
    for path in (masks / "v/0.png", masks / "v/1.png", frames / "v/3.png"):
        path.unlink()
    write(frames / "w/0.png", np.zeros((*SHAPE, 3), np.uint8))
    (masks / "empty").mkdir()
    write(masks / "loose.png", numbers(1))
    notes = Notes()
    assert convert(tmp_path, notes)["videos"][0]["file_names"] == ["v/2.png"]
    assert [line.split(", first: ")[0] for line in notes] == [
        "files beside the folders of mask images, left out: 1",
        "folders without mask images, left out: 1",
        "masks without a frame of their name, left out: 1",
        "frames without a mask, left out: 2",
        "folders of frames without masks, left out: 1",
    ]
    shutil.move(frames / "v/2.png", frames / "v/00002.png")
    with pytest.raises(DataError, match=r"no frame .*v/2\.jpg .*there are frames such as 0\.png"):
        convert(tmp_path)
    shutil.rmtree(frames / "v")
    (frames / "v.mp4").touch()
    with pytest.raises(DataError, match=r"no frame .*v/2\.jpg .*but .*v\.mp4: extract its frames"):
        convert(tmp_path)


def test_names_that_are_not_text(tmp_path):
    frames, masks = frames_and_masks(tmp_path, [numbers(1)])
    for folder in (frames, masks):
        (folder / "v/0.png").rename(folder / "v" / "\udcff.png")
    with pytest.raises(DataError, match="is not valid UTF-8 and cannot be written to JSON"):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ("480p/v", "but in those of .*480p; give .*480p$"),
        ("v/000", r"masks/v has a folder per object \(000\)"),
        ("v/mask", "no mask images directly in .*masks/v, but in .*v/mask: move them one folder up"),
        (".", "the masks are directly in it: expected .*give the folder above"),
    ],
)
def test_masks_a_folder_too_deep_or_too_high(tmp_path, moved, message):
    frames, masks = frames_and_masks(tmp_path, [numbers(1)] * 2)
    (masks / "v").rename(tmp_path / "v")
    shutil.copytree(tmp_path / "v", masks / moved, dirs_exist_ok=True)
    with pytest.raises(DataError, match=message):
        convert(tmp_path)
    if moved == "480p/v":
        shutil.move(frames / "v", frames / "480p/v")
        with pytest.raises(DataError, match="give .*frames/480p and .*masks/480p$"):
            convert(tmp_path)


def test_archives_of_windows(tmp_path):
    write(tmp_path / "masks" / "v\\0.png", numbers(1))
    with pytest.raises(DataError, match="has a Windows separator in its name; unpack"):
        convert(tmp_path)


def exif(orientation):
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data.tobytes()


def test_sizes_of_masks_and_frames(tmp_path):
    frames, masks = frames_and_masks(tmp_path, [numbers(1)])
    write(masks / "v/0.png", np.ones((3, 4), np.uint8))
    with pytest.raises(DataError, match=r"mask .*v/0\.png is 4 x 3, its frame .*v/0\.png is 8 x 6"):
        convert(tmp_path)
    write(frames / "v/0.png", np.zeros((*SHAPE, 3), np.uint8), exif=exif(6))
    with pytest.raises(DataError, match="is 8 x 6 and, turned as its EXIF orientation says, 6 x 8"):
        convert(tmp_path)
    (frames / "v/0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"frame .*v/0\.png is not a readable image"):
        convert(tmp_path)


@pytest.mark.parametrize(("orientation", "mask"), [(3, numbers(1)), (6, numbers(1)), (6, numbers(1).T)])
def test_frames_that_exif_turns_are_named(tmp_path, orientation, mask):
    frames, _ = frames_and_masks(tmp_path, [mask])
    write(frames / "v/0.png", np.zeros((*SHAPE, 3), np.uint8), exif=exif(orientation))
    notes = Notes()
    assert convert(tmp_path, notes)["videos"][0]["height"] == mask.shape[0]
    assert "EXIF orientation: do the masks lie on the objects?: 1, first: " in "\n".join(notes)


def test_classes_of_a_white_object_and_of_none(tmp_path):
    frames_and_masks(tmp_path, [numbers(255)])
    classes = tmp_path / "c.json"
    classes.write_text('{"videos": {"v": {"objects": {"1": {"category": "cup"}, "2": {"category": "hand"}}}}}')
    notes = Notes()
    document = convert(tmp_path, notes, classes=classes)
    assert document["categories"][document["annotations"][0]["category_id"] - 1]["name"] == "cup"
    assert "objects of the class file that are in no mask: 1, first: 2 of v" in notes
    classes.write_text('{"videos": {"v": {"objects": {"1": {"category": null}}}}}')
    with pytest.raises(DataError, match="the category of object 1 of 'v' must be text, got None"):
        convert(tmp_path, classes=classes)


def test_shades_are_not_objects(tmp_path, monkeypatch):
    frames_and_masks(tmp_path, [np.arange(48, dtype=np.uint16).reshape(SHAPE)])
    monkeypatch.setattr("stmask.data.convert.masks._MANY_OBJECTS", 40)
    notes = Notes()
    convert(tmp_path, notes)
    assert "videos with more than 40 values" in next(iter(notes))
    monkeypatch.setattr("stmask.data.convert.masks._MOST_OBJECTS", 40)
    with pytest.raises(DataError, match="the masks of v have 47 different values"):
        convert(tmp_path)


def test_the_command_says_what_it_wrote_and_overwrites_nothing(tmp_path, capsys):
    frames, masks = frames_and_masks(tmp_path, [numbers(1, 2), numbers(1)])
    out = tmp_path / "train.json"
    command = ["masks-to-ytvis", str(frames), str(masks), str(out)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err.splitlines()[0] == "  1 videos, 2 frames, 2 tracks, 3 masks"
    before = out.read_bytes()
    with pytest.raises(OutputError, match=r"train\.json exists already; .*--overwrite"):
        main(command)
    assert out.read_bytes() == before
    assert main([*command, "--overwrite"]) == 0
    for inside in (masks / "train.json", frames / "v/train.json"):
        with pytest.raises(OutputError, match="is inside"):
            main([*command[:-1], str(inside), "--overwrite"])
    assert read_json(out)["videos"][0]["length"] == 2
