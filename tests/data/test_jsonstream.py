import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stmask.data import jsonstream
from stmask.data.jsonstream import stream_object
from stmask.errors import DataError
from stmask.evaluation.reading import read_large_json
from stmask.files import read_json

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


DOCUMENT = '{"a": "é", "list": [1, 2]}'
OTHER_FILES = {
    "latin-1": (DOCUMENT.encode("latin-1"), "is not UTF-8 (it holds the byte 0xe9): save it as UTF-8"),
    "UTF-16": (DOCUMENT.encode("utf-16"), "is saved as UTF-16: save it as UTF-8"),
    "UTF-16 without a mark": (DOCUMENT.encode("utf-16-be"), "is saved as UTF-16: save it as UTF-8"),
    "UTF-32": (DOCUMENT.encode("utf-32"), "is saved as UTF-32: save it as UTF-8"),
    "gzip": (gzip.compress(DOCUMENT.encode()), "is a gzip file and not JSON: unpack it first"),
    "empty": (b"", "is not valid JSON (line 1, column 1): it is empty"),
    "white": (b" \n", "is not valid JSON (line 2, column 1): it is empty"),
    "a key twice": (b'{"a": 1, "list": [], "a": 2}', "has the key 'a' twice in one object"),
    "a key twice deep inside": (b'{"list": [{"b": {"c": 1, "c": 2}}]}', "has the key 'c' twice in one object"),
    "brackets": (b'{"a": ' + b"[" * 100_000, "is nested too deeply to be read"),
    "brackets in a list": (b'{"list": [' + b"[" * 100_000, "is nested too deeply to be read"),
    "digits": (b'{"a": 1' + b"0" * 5000 + b"}", "holds an integer of thousands of digits"),
    "cut": (DOCUMENT.encode()[:-3], "is not valid JSON (line 1, column "),
    "more": (DOCUMENT.encode() + b" 5", "is not valid JSON (line 1, column "),
    "no name": (b"{1: 2}", "is not valid JSON (line 1, column 2"),
}


@pytest.mark.parametrize(("content", "message"), OTHER_FILES.values(), ids=OTHER_FILES.keys())
def test_both_readers_say_the_same_of_other_files(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for read in (read_json, read_large_json, lambda path: list(stream_object(path, ["list"]))):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path} {message}")


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(DOCUMENT.encode("utf-8-sig"))
    assert read_json(path) == read_large_json(path) == {"a": "é", "list": [1, 2]}
    assert next(iter(stream_object(path, ["list"]))) == ("a", None, "é")
