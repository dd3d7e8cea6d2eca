import pytest

from stmask.errors import DataError, OutputError
from stmask.folders import atomic_folder, list_folder, natural_key


@pytest.mark.parametrize(
    "ordered",
    [
        ["9", "10", "a", "a9", "a9b2", "a9b10", "a10", "b"],
        ["-10.png", "-2.png", "0.png", "1.png", "02.png", "10.png"],
        ["1_2", "1_10", "2_1", "10_1"],
        ["f-1", "f-2", "f-10"],
        ["9" * 5000, "1" + "0" * 5000],
        ["2", "²", "٣"],
    ],
)
def test_natural_order(ordered):
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural_key) == ordered


def test_a_folder_is_listed_in_natural_order_without_what_is_hidden(tmp_path):
    for name in ("10", "9", "01", "1", ".hidden", "._1", "__MACOSX"):
        (tmp_path / name).touch()
    assert [path.name for path in list_folder(tmp_path)] == ["01", "1", "9", "10"]
    with pytest.raises(DataError, match="cannot read"):
        list_folder(tmp_path / "1")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "above" / "new"
    with pytest.raises(RuntimeError, match="half way"), atomic_folder(target) as folder:
        (folder / "file").touch()
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []
    for content in ("old", "new"):
        with atomic_folder(target) as folder:
            (folder / content).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "above",
        "above/new",
        "above/new/new",
    ]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), atomic_folder(tmp_path / "file" / "new"):
        pass
