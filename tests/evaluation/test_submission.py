from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from evaluation.builders import box, ground_truth, result_entry

from stmask.errors import DataError, OutputError
from stmask.evaluation import GroundTruth
from stmask.evaluation.submission import check_submission, write_submission

MASK = box(8, 10, 1, 2, 5, 6)
UNLABELLED = GroundTruth.from_dict(ground_truth([(8, 10, 2)] * 3, None))
RESULTS = [result_entry(1, 2, 0.5, [MASK, None]), result_entry(3, 1, 0.25, [MASK, MASK])]


def write(folder: Path, results: object = RESULTS, member: str = "results.json") -> Path:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr(member, results if isinstance(results, str) else json.dumps(results))
    return folder / "made.zip"


@pytest.mark.parametrize("truth", [UNLABELLED, None], ids=["with the dataset", "alone"])
def test_what_is_written_is_sound(tmp_path: Path, truth: GroundTruth | None) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    summary = write_submission(tmp_path / "results.json", tmp_path / "out" / "a.zip", truth)
    assert check_submission(tmp_path / "out" / "a.zip", truth) == summary
    assert (summary.tracks, summary.masks, summary.videos, summary.categories) == (2, 3, 2, 2)
    assert summary.videos_without_tracks == (None if truth is None else 1)
    assert summary.text().startswith("2 tracks with 3 masks in 2 videos")
    with zipfile.ZipFile(tmp_path / "out" / "a.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert json.loads(archive.read("results.json")) == RESULTS


def test_nothing_is_written_of_wrong_results(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps([{**RESULTS[0], "segmentations": [None]}]))
    with pytest.raises(DataError, match=r"results\.json: entry 0: has 1 segmentations, video 1 has 2 frames"):
        write_submission(tmp_path / "results.json", tmp_path / "a.zip", UNLABELLED)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("member", ["out/results.json", "Results.json", "result.json"])
def test_another_member_is_named(tmp_path: Path, member: str) -> None:
    message = f"must hold results.json at its root and nothing else, it holds {member!r}"
    with pytest.raises(DataError, match=re.escape(message)):
        check_submission(write(tmp_path, member=member))


ALONE = {
    "lengths differ": ([*RESULTS, result_entry(3, 1, 0.1, [MASK])], "entry 2: has 1 segmentations, video 3 has 2"),
    "sizes differ": ([*RESULTS, result_entry(1, 1, 0.1, [MASK.T, None])], "entry 2: segmentations[0] has size [10, 8]"),
    "no list": ({}, "results must be a list of tracks"),
    "score": ([{**RESULTS[0], "score": None}], "entry 0: score must be a finite number"),
    "no video": ([{**RESULTS[0], "video_id": "a"}], "entry 0: video_id 'a' is not a video"),
    "no object": ([1], "entry 0: expected an object"),
    "no JSON": ("[", "is not valid JSON (line 1, column 2)"),
    "brackets": ("[" * 100_000, "is nested too deeply to be read"),
    "digits": ("[1" + "0" * 5000 + "]", "holds an integer of thousands of digits"),
    "a huge score": ([{**RESULTS[0], "score": 10**400}], "entry 0: score must be a finite number, got 1000"),
    "true as id": ([{**RESULTS[0], "video_id": True}], "entry 0: video_id true is not a video"),
    "an id beyond all": ([{**RESULTS[0], "category_id": 2**70}], "entry 0: category_id 1180591620717411303424 is not"),
    "a zip in it": ("PK\3\4", "results.json in"),
}


@pytest.mark.parametrize(("results", "message"), ALONE.values(), ids=ALONE.keys())
def test_a_submission_is_held_against_itself(tmp_path: Path, results: object, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        check_submission(write(tmp_path, results))


def test_a_sound_submission_may_have_a_byte_order_mark_and_whole_floats(tmp_path: Path) -> None:
    mask = {**RESULTS[0]["segmentations"][0], "size": [8.0, 10.0]}
    entry = {**RESULTS[0], "video_id": 1.0, "segmentations": [mask, None]}
    assert check_submission(write(tmp_path, "\ufeff" + json.dumps([entry]))).masks == 1


def test_results_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    with pytest.raises(OutputError, match="is also an input and would be overwritten"):
        write_submission(path, tmp_path / "a" / ".." / "results.json")
    assert json.loads(path.read_text()) == RESULTS


def test_a_member_of_any_size_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = (3 << 30).to_bytes(4, "little")  # unpacked, as the directory says
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"has 3\.0 GiB unpacked, more than 2"):
        check_submission(path)


def test_damage_in_the_middle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.json", json.dumps(RESULTS))
    content = bytearray((tmp_path / "made.zip").read_bytes())
    content[60:80] = bytes(range(20, 40))
    (tmp_path / "made.zip").write_bytes(content)
    with pytest.raises(DataError, match="is not a valid zip file"):
        check_submission(tmp_path / "made.zip")


def test_no_file_and_no_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        check_submission(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_text("[]")
    with pytest.raises(DataError, match="is not a valid zip file"):
        check_submission(tmp_path / "a.zip")
    with pytest.raises(DataError, match="cannot read"):
        check_submission(tmp_path)


def test_a_damaged_and_an_encrypted_zip(tmp_path: Path) -> None:
    path = write(tmp_path)
    sound = path.read_bytes()
    start = sound.index(b"results.json") + len("results.json")
    path.write_bytes(sound[:start] + b"?" + sound[start + 1 :])
    with pytest.raises(DataError, match="is not a valid zip file: Bad CRC-32"):
        check_submission(path)
    central = sound.index(b"PK\x01\x02")
    path.write_bytes(sound[: central + 8] + b"\x01" + sound[central + 9 :])  # the flag that says encrypted
    with pytest.raises(DataError, match="is not a valid zip file: .*encrypted"):
        check_submission(path)
