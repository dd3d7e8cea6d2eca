from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stmask.data import VideoDataset, VISDataModule
from stmask.engine.module import VISModule
from stmask.engine.records import ValidationRecord, ValidationRecords
from stmask.engine.validation import Validator
from stmask.errors import OutputError
from stmask.evaluation import GroundTruth
from stmask.inference import pictures
from stmask.inference.pictures import busiest_videos, draw_clips
from stmask.inference.video import VideoReader
from stmask.runs.validations import record_folders
from stmask.structures import TrackResult, VideoResult


@pytest.fixture
def data(dataset: Path) -> VISDataModule:
    module = VISDataModule(root=str(dataset))
    module.setup("validate")
    return module


def truth_as_results(dataset: VideoDataset, *, score: float = 0.9) -> list[VideoResult]:
    truth = GroundTruth.load(dataset.annotations_path)
    results = []
    for video_id, video in truth.videos.items():
        tracks = [track for track in truth.labelled_tracks if track.video_id == video_id]
        labels = {category: label for label, category in enumerate(dataset.category_ids, start=1)}
        found = [
            TrackResult(i, labels[track.category_id], score, track.segmentations) for i, track in enumerate(tracks)
        ]
        results.append(VideoResult(video_id, video.length, tuple(found)))
    return results


class Logger:
    def __init__(self) -> None:
        self.records: list[ValidationRecord] = []

    def log_validation(self, record: ValidationRecord) -> None:
        self.records.append(record)


class Validation:
    """A trainer and a module after a validation that found all of the truth or nothing."""

    def __init__(self, data: VISDataModule, folder: Path, **options: Any) -> None:
        self.data, self.logger = data, Logger()
        truth = data.task.truth(data.valid_dataset.annotations_path)
        self.validator = Validator(data.task, truth, truth.category_ids)
        self.module = VISModule.__new__(VISModule)
        torch.nn.Module.__init__(self.module)
        self.module.validator = self.validator
        self.callback = ValidationRecords(folder, **options)

    def __call__(self, step: int, *, found: bool = True, rank: int = 0, **changes: Any) -> None:
        for item, result in zip(self.data.videos(), truth_as_results(self.data.valid_dataset), strict=False):
            self.validator.record(item, result if found else VideoResult(result.video_id, result.length, ()))
        figures = self.validator.finish()
        trainer: Any = SimpleNamespace(
            global_step=step, is_global_zero=rank == 0, sanity_checking=False, world_size=1, num_val_batches=[2],
            callback_metrics={f"valid/{name}": torch.tensor(value) for name, value in figures.items()},
            datamodule=self.data, loggers=[object(), self.logger],
        )  # fmt: skip
        vars(trainer).update(changes)
        self.callback.on_validation_end(trainer, self.module)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_record_of_every_validation(data: VISDataModule, tmp_path: Path) -> None:
    validation = Validation(data, tmp_path)
    validation(20)
    folder = tmp_path / "step_00000020"
    assert names(folder) == {"figures.json", "classes.csv", "results.json", "clips.png", "clip.mp4", "videos.csv"}
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["step"] == 20
    assert figures["valid/AP"] == 1
    assert figures["valid/explain/cost/missed"] == 0
    assert (folder / "classes.csv").read_text().startswith("category_id,name,tracks,predictions,AP,")
    tracks = sum(len(result.tracks) for result in truth_as_results(data.valid_dataset))
    assert len(json.loads((folder / "results.json").read_text())) == tracks
    assert Image.open(folder / "clips.png").width == 4 * 288 + 5 * 8  # 96 pixels enlarged thrice, four columns
    assert len(list(VideoReader(folder / "clip.mp4"))) == 4


def test_loggers_that_know_records_get_them(data: VISDataModule, tmp_path: Path) -> None:
    validation = Validation(data, tmp_path)
    validation(20)
    (record,) = validation.logger.records
    assert record.step == 20
    assert [row["name"] for row in record.classes] == list(data.class_names) == list(record.class_names)
    assert record.film == tmp_path / "step_00000020" / "clip.mp4"
    assert len(record.frames) == 2
    for frame in record.frames:
        assert frame.frame.shape == (192, 288, 3)
        assert frame.labels.shape == (192, 288)
        assert frame.labels.max() > 0


def test_results_are_kept_for_the_best_and_the_latest(data: VISDataModule, tmp_path: Path) -> None:
    validation = Validation(data, tmp_path, clips=0)
    for step, found in ((1, False), (2, True), (3, True), (4, False), (5, False)):
        validation(step, found=found)
    kept = [step for step, folder in record_folders(tmp_path) if "results.json" in names(folder)]
    assert kept == [2, 5]  # of equals the first is the best, as for best.ckpt
    assert names(tmp_path / "step_00000003") == {"figures.json", "classes.csv"}


def test_a_resumed_run_removes_what_lies_after_its_step(data: VISDataModule, tmp_path: Path) -> None:
    validation = Validation(data, tmp_path, clips=0)
    for step in (1, 2, 3):
        validation(step)
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=2)
    validation.callback.on_train_start(trainer, validation.module)
    assert [step for step, _ in record_folders(tmp_path)] == [1, 2]


@pytest.mark.parametrize("changes", [{"rank": 1}, {"sanity_checking": True}])
def test_other_processes_and_trial_runs_write_nothing(
    data: VISDataModule, tmp_path: Path, changes: dict[str, Any]
) -> None:
    Validation(data, tmp_path / "records")(1, **changes)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_costs_one_warning(
    data: VISDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutputError("disk full")

    monkeypatch.setattr(pictures.viz, "draw", full)
    validation = Validation(data, tmp_path)
    validation(1)
    validation(2)
    assert [record.getMessage() for record in caplog.records if "disk full" in record.getMessage()] == [
        "cannot keep the validation at step 1 (later failures are not reported): disk full"
    ]
    assert names(tmp_path / "step_00000002") == {"figures.json", "classes.csv", "results.json", "videos.csv"}
    assert [record.step for record in validation.logger.records] == [1, 2]


def test_the_busiest_videos_are_drawn(data: VISDataModule) -> None:
    dataset = data.valid_dataset
    counts = np.diff(dataset.index.annotation_starts).tolist()
    (busiest,) = busiest_videos(dataset, 1, among=2)
    assert counts[busiest] == max(counts)
    assert busiest_videos(dataset, 5, among=2) == [0, 1]
    assert busiest_videos(dataset, 1, among=1) == [0]


def test_low_scores_are_not_drawn(data: VISDataModule, tmp_path: Path) -> None:
    dataset = data.valid_dataset
    files = {"sheet": tmp_path / "a.png", "film": tmp_path / "a.mp4"}
    assert all(frame.labels.max() == 0 for frame in draw_clips(dataset, [0], [], min_score=0.5, **files))


def test_a_negative_number_of_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clips must not be negative, got -1"):
        ValidationRecords(tmp_path, clips=-1)
