from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stmask.errors import DataError, OutputError
from stmask.files import atomic_open, atomic_path, read_json, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_json_round_trip_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "results.json"
    write_json(path, {"AP": 0.5, "names": ["é"]})
    assert read_json(path) == {"AP": 0.5, "names": ["é"]}
    assert names(path.parent) == ["results.json"]
    assert path.read_text().endswith("\n")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_open(path) as handle:
        handle.write("new")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["results.json"]


def test_the_temporary_file_keeps_the_suffix_and_is_beside_the_target(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "out.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "out.mp4").exists()
        temporary.write_bytes(b"video")
    assert (tmp_path / "out.mp4").read_bytes() == b"video"
    assert (tmp_path / "out.mp4").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot write .*out\.json: No space left"),
        atomic_open(tmp_path / "out.json"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*taken/out\.json"):
        write_json(tmp_path / "taken" / "out.json", {})


def test_only_writing_modes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a'"), atomic_open(tmp_path / "x", "a"):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n}', r"not valid JSON \(line 2, column 1\)"),
        (b"", r"not valid JSON \(line 1, column 1\)"),
        (b"\xff\xfe\x00", "saved as UTF-16: save it as UTF-8"),
    ],
)
def test_read_json_names_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train\.json is {message}"):
        read_json(path)


def test_read_json_of_nothing_and_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*missing\.json"):
        read_json(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot read"):
        read_json(tmp_path)
