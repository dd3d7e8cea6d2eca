import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stmask.data import jsonstream
from stmask.data.jsonstream import stream_object
from stmask.errors import DataError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(params=[1, 3, 16, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(jsonstream, "_CHUNK", request.param)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "file.json"


@pytest.mark.parametrize("chunk_size", [1, 5, 1 << 20])
@given(document=st.dictionaries(st.sampled_from(["a", "b", "c", "list"]), values), indent=st.sampled_from([None, 2]))
def test_the_members_are_those_of_the_standard_library(path, chunk_size, document, indent):
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    rebuilt = {}
    original, jsonstream._CHUNK = jsonstream._CHUNK, chunk_size
    try:
        for key, position, value in stream_object(path, ["list"]):
            if position is None:
                rebuilt[key] = value
            else:
                assert position == len(rebuilt[key])
                rebuilt[key].append(value)
    finally:
        jsonstream._CHUNK = original
    assert rebuilt == document


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "line 1, column 1"),
        ('{"a": 1', "line 1, column 8"),
        ('{"a" 1}', "line 1, column 6"),
        ('{"a": 1,\n "list": [1,\n  2 3]}', "line 3, column 5"),
        ('{"a": 1,\n "b": [1, 2,, 3]}', "line 2, column 13"),
        ('{"a": 1}\n x', "line 2, column 2"),
        ('{"a": tru}', "line 1, column 7"),
    ],
)
@pytest.mark.usefixtures("chunk")
def test_mistakes_are_located(path, text, where):
    path.write_text(text)
    with pytest.raises(DataError, match=f"is not valid JSON .{where}"):
        list(stream_object(path, ["list"]))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(stream_object(tmp_path / "none.json", []))
    with pytest.raises(DataError, match="cannot read"):
        list(stream_object(tmp_path, []))
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(DataError, match="not valid JSON"):
        list(stream_object(tmp_path / "latin.json", []))
