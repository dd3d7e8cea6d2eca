"""Frames as people have them: EXIF, depths, channels, and what is not an image at all."""

import io
import logging
import struct
import zlib

import cv2
import numpy as np
import pytest
from data.makers import contents, write_dataset
from PIL import Image, ImageOps

from stmask.data import VideoDataset, read_image
from stmask.data.headers import read_header
from stmask.errors import DataError

PICTURE = np.zeros((48, 64, 3), np.uint8)
PICTURE[:24, :32], PICTURE[:24, 32:], PICTURE[24:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
TWICE = {"save_all": True, "append_images": [Image.fromarray(255 - PICTURE)]}
HUGE = struct.pack(">II", 60000, 60000)


def encoded(form="JPEG", *, picture=PICTURE, orientation=None, **how):
    image, buffer = (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)), io.BytesIO()
    if orientation is not None:
        how["exif"] = Image.Exif()
        how["exif"][0x0112] = orientation
    image.save(buffer, form, **how)
    return buffer.getvalue()


def written(folder, data, name="a.jpg"):
    (folder / name).write_bytes(data)
    return folder / name


def close(a, b):
    return a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 6


def png_of_size(size):
    head = struct.pack(">I", 13) + b"IHDR" + size + b"\x08\x02\0\0\0"
    head += struct.pack(">I", zlib.crc32(head[4:]))
    return encoded("PNG")[:8] + head + encoded("PNG")[33:]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, *range(1, 10)])
def test_turned_upright_as_pillow_does(tmp_path, form, orientation):
    data = encoded(form, orientation=orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert close(read_image(written(tmp_path, data)), expected)
    found = read_header(data)
    assert found.orientation == (orientation if orientation in range(1, 9) else 1)
    assert found.size in ((48, 64), None)


@pytest.mark.parametrize(
    ("orientation", "size", "turned"),
    [(6, (48, 64), False), (6, (64, 48), True), (6, (40, 40), True), (3, (48, 64), True), (1, (48, 64), True)],
)
def test_annotations_say_which_way_up(tmp_path, orientation, size, turned):
    path = written(tmp_path, encoded(orientation=orientation))
    expected = ImageOps.exif_transpose(Image.open(path)) if turned else PICTURE
    assert close(read_image(path, size=size), np.asarray(expected))


def test_a_dataset_reads_by_its_size_and_says_that_frames_are_turned(tmp_path, caplog):
    write_dataset(tmp_path, contents(videos=1, frames=3))
    dataset = VideoDataset.from_root(tmp_path, "train")
    for position, orientation in enumerate((6, 3, 2)):
        dataset.frame_path(0, position).write_bytes(encoded(orientation=orientation))
    with caplog.at_level(logging.WARNING):
        frames = [dataset.read_frame(0, position) for position in range(3)]
    assert close(frames[0], PICTURE)
    assert close(frames[1], PICTURE[::-1, ::-1])
    assert close(frames[2], PICTURE[:, ::-1])
    assert len(caplog.records) == 1
    assert "00001.jpg is turned by 180 degrees by its EXIF orientation 3 and read upright" in caplog.text
    dataset.frame_path(0, 0).write_bytes(encoded(orientation=6, picture=PICTURE[:40]))
    with pytest.raises(DataError, match=r"is 40 x 64 \(turned by 90 degrees by its EXIF.*says 64 x 48"):
        dataset.read_frame(0, 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded("PNG", picture=np.full((48, 64), 40000, np.uint16)), (156, 156, 156)),
        (encoded("PNG", picture=Image.new("L", (64, 48), 77)), (77, 77, 77)),
        (encoded("PNG", picture=Image.new("LA", (64, 48), (77, 9))), (77, 77, 77)),
        (encoded("PNG", picture=Image.new("RGBA", (64, 48), (1, 2, 3, 9))), (1, 2, 3)),
        (encoded("PNG", picture=Image.new("1", (64, 48), 1)), (255, 255, 255)),
        (encoded("PNG", picture=Image.new("P", (64, 48), 0)), (0, 0, 0)),
        (encoded("JPEG", picture=Image.new("CMYK", (64, 48), (255, 0, 0, 0))), (0, 255, 255)),
        (encoded("JPEG", progressive=True) + b"\0\0ftypmp42\xff\xda" * 9, PICTURE),  # a phone's picture with its film
        (encoded("PNG") + b"more", PICTURE),
        (encoded("BMP"), PICTURE),
    ],
)
def test_any_depth_channels_and_trailers(tmp_path, data, expected):
    expected = np.broadcast_to(np.array(expected, np.uint8), (48, 64, 3))
    assert close(read_image(written(tmp_path, data)), expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is not a readable image: it is empty \(0 bytes\)"),
        (encoded()[:-30], "is truncated"),
        (encoded(progressive=True)[:-2], "is truncated"),
        (encoded(orientation=6)[:60], "is truncated"),
        (encoded("PNG")[:-10], "is truncated"),
        (encoded("WEBP")[:-10], "is truncated"),
        (encoded("BMP")[:-10], "is not a readable image"),
        (b"\r\n<!DOCTYPE html><html>", "is not a readable image: it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is HEIC, save it as JPEG or PNG"),
        (b"\0\5\26\7\0\2\0\0Mac OS X", "is not a readable image$"),
        (png_of_size(HUGE), "claims 60000 x 60000 pixels, which is too large"),
        (encoded().replace(b"\x08\0\x30\0\x40\3", b"\x08\xea\x60\xea\x60\3"), "60000 x 60000 pixels"),
        (encoded("PNG", **TWICE), "is an animation of 2 pictures: save each"),
        (encoded("WEBP", **TWICE), "is an animation of 2 pictures: save each"),
        (b"BM" + struct.pack("<IIIIii", 90, 0, 54, 40, 60000, 60000) + b"\1\0\x18\0" + bytes(60), "not a readable"),
    ],
)
def test_what_is_not_a_picture_is_one_line(tmp_path, data, message):
    path = written(tmp_path, data)
    with pytest.raises(DataError, match=rf"^frame {path} .*{message}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("v\\0.jpg", "no such frame: .*Windows separators, write /"), ("x" * 300, "cannot read frame"), ("a\0b", "null")],
)
def test_names_that_no_file_has(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / name)


def test_damaged_orientations_are_ignored():
    block = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x06\0\0\0"
    for exif in (block[:12], b"XX" + block[2:], block[:4] + b"\xff\xff\xff\x7f" + block[8:], b""):
        data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + encoded()[2:]
        assert read_header(data).orientation == 1
    assert read_header(data).whole
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
