import json
import os
import pickle

import numpy as np
import pytest
from data.makers import contents, write_dataset

from stmask.data import VideoDataset, cache
from stmask.errors import DataError, OutputError


@pytest.fixture
def reads(monkeypatch):
    """How often the annotation file itself was read."""
    calls = []
    original = cache.read_index
    monkeypatch.setattr(cache, "read_index", lambda path: calls.append(path) or original(path))
    return calls


def open_set(tmp_path):
    return VideoDataset.from_root(tmp_path, "train", cache=tmp_path / "cache")


def same(a, b):
    names = a.index.__slots__
    return all(np.array_equal(getattr(a.index, n), getattr(b.index, n)) for n in names) and a.categories == b.categories


def test_the_second_time_it_is_mapped(tmp_path, reads):
    write_dataset(tmp_path)
    plain = VideoDataset.from_root(tmp_path, "train")
    first, second = open_set(tmp_path), open_set(tmp_path)
    assert same(plain, first)
    assert same(plain, second)
    assert len(reads) == 2  # once plain, once for the cache
    assert isinstance(second.index.data.base, np.memmap)
    assert all(
        np.array_equal(a, b) for a, b in zip(plain.instances(1, 3).masks, second.instances(1, 3).masks, strict=True)
    )


def test_a_changed_file_is_read_again(tmp_path, reads):
    path = write_dataset(tmp_path)
    open_set(tmp_path)
    path.write_text(json.dumps(contents(videos=2)))
    assert len(open_set(tmp_path)) == 2
    os.utime(path, ns=(1, 1))
    open_set(tmp_path)
    assert len(reads) == 3


@pytest.mark.parametrize("damage", ["cut", "remove", "no description", "broken description", "another format"])
def test_a_damaged_entry_is_rebuilt(tmp_path, reads, damage):
    write_dataset(tmp_path)
    open_set(tmp_path)
    (entry,) = (tmp_path / "cache").iterdir()
    column, description = entry / "data.npy", entry / "index.json"
    if damage == "cut":
        column.write_bytes(column.read_bytes()[:-5])
    elif damage == "remove":
        column.unlink()
    elif damage == "no description":
        description.unlink()
    elif damage == "broken description":
        description.write_text("{")
    else:
        content = json.loads(description.read_text())
        content["source"]["format"] = 0
        description.write_text(json.dumps(content))
    assert same(open_set(tmp_path), VideoDataset.from_root(tmp_path, "train"))
    assert len(reads) == 3
    open_set(tmp_path)
    assert len(reads) == 3
    assert list((tmp_path / "cache").iterdir()) == [entry]


def test_pickles_without_its_columns(tmp_path):
    write_dataset(tmp_path, contents(videos=50))
    mapped, plain = open_set(tmp_path), VideoDataset.from_root(tmp_path, "train")
    assert len(pickle.dumps(mapped)) < 1000 < len(pickle.dumps(plain))
    assert same(pickle.loads(pickle.dumps(mapped)), pickle.loads(pickle.dumps(plain)))


def test_files_that_are_wrong_leave_nothing_behind(tmp_path):
    write_dataset(tmp_path, contents() | {"categories": []})
    with pytest.raises(DataError, match="category_id"):
        open_set(tmp_path)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError, match="no such file"):
        VideoDataset(tmp_path / "none.json", tmp_path, cache=tmp_path / "cache")


def test_a_place_that_cannot_be_written_to(tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cannot write the index"):
        open_set(tmp_path)
