import cv2
import pytest
from data.makers import annotation, compressed, contents, rectangle, write_dataset

from stmask.commands.data_show import main
from stmask.data import VideoDataset
from stmask.data.statistics import collect, occlusion_rate


@pytest.mark.parametrize(
    ("boxes", "rate"),
    [
        ([(0, 0, 10, 10)], 0.0),
        ([(0, 0, 10, 10), (20, 0, 5, 5)], 0.0),
        ([(0, 0, 10, 10), (0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 10), (5, 0, 10, 10)], 50 / 150),
        ([(0, 0, 10, 10), (5, 0, 10, 10), (8, 0, 4, 10)], 70 / 150),
    ],
)
def test_occlusion_rate(boxes, rate):
    assert occlusion_rate(boxes) == pytest.approx(rate)


def test_counts(tmp_path):
    document = contents(videos=2, frames=3)
    document["annotations"].append(annotation(90, 1, 7, [compressed(rectangle(0, 0, 9, 9))] * 3, iscrowd=1))
    document["annotations"].append(annotation(91, 1, 7, [None] * 3))
    write_dataset(tmp_path, document)
    found = collect(VideoDataset.from_root(tmp_path, "train"))
    assert found.tracks_per_class.tolist() == [2, 2]
    assert found.track_lengths.tolist() == [3, 2, 3, 2]
    assert found.objects_per_frame.tolist() == [1, 2, 2, 1, 2, 2]
    assert found.mask_sizes[0] == pytest.approx((144 / (48 * 64)) ** 0.5)
    assert len(found.occlusion) == 6


@pytest.mark.parametrize("labelled", [True, False])
def test_pictures(tmp_path, capsys, labelled):
    document = contents()
    if not labelled:
        document["annotations"] = None
    write_dataset(tmp_path, document)
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--videos", "2", "--frames", "3"]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rsplit("/", 1)[1] for path in paths] == ["train-sheet.png", "train-statistics.png"]
    assert all(min(cv2.imread(path).shape[:2]) > 100 for path in paths)


def test_a_sheet_of_images_shows_each_once(tmp_path):
    write_dataset(tmp_path, contents(videos=5, frames=1))
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--videos", "3", "--frames", "2"]) == 0
    height = cv2.imread(str(tmp_path / "out/train-sheet.png")).shape[0]
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--videos", "1", "--frames", "2"]) == 0
    assert height > 2.5 * cv2.imread(str(tmp_path / "out/train-sheet.png")).shape[0]
