"""What a training is validated by, for videos and for images."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
from engine.tiny import TINY
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import distributed

from stmask.checkpoints import ModelCard, build_model
from stmask.config import compose
from stmask.data import DataModule, ImageDataModule, VideoClips, VideoDataset, VISDataModule
from stmask.data.convert import to_images
from stmask.engine.validation import Validator, validator_for
from stmask.errors import ConfigError, DataError
from stmask.models.stmask import STMask
from stmask.ops.frames import FramePreprocessor
from stmask.structures import ImageInstance, ImageResult, TrackResult, VideoResult
from stmask.tasks import Images, Task, Videos

SMALL = FramePreprocessor(height=64, width=96)


@pytest.fixture(scope="module")
def model() -> STMask:
    torch.manual_seed(0)
    cfg = compose("train", TINY)
    return build_model(OmegaConf.to_container(cfg.model, resolve=True), num_classes=6).eval()  # type: ignore[arg-type]


def card(names: tuple[str, ...]) -> ModelCard:
    return ModelCard(model={}, class_names=names, preprocessor=SMALL)


def image_file(dataset: Path, folder: Path) -> Path:
    path = folder / "images.json"
    path.write_text(json.dumps(to_images(json.loads((dataset / "valid.json").read_text()))))
    return path


def run(validator: Validator, data: DataModule, model: STMask) -> tuple[list[object], dict[str, float]]:
    validator.start(model, card(data.class_names), device=torch.device("cpu"))
    results = [validator.step(item) for item in data.val_dataloader()]
    return results, validator.finish()


def tracks(truth: object, entries: list[dict[str, object]], item_ids: list[int]) -> float:
    """A metric of one's own."""
    return len(entries) / len(item_ids)


def test_videos(dataset: Path, model: STMask) -> None:
    data = VISDataModule(root=str(dataset), train=None, preprocessor=SMALL, task=Videos(metrics={"tracks": tracks}))
    validator = validator_for(data)
    assert validator is not None
    results, metrics = run(validator, data, model)
    assert [type(result) for result in results] == [VideoResult] * 2
    found = sum(len(result.tracks) for result in results)  # type: ignore[attr-defined]
    assert set(data.task.judged_by) <= set(metrics)
    assert metrics["tracks"] == found / 2
    assert "explain/cost/wrong_class" in metrics
    assert "AR100" not in metrics
    assert {"AR100", "tracks"} < set(validator.scores.metrics)
    assert validator.scores.metrics["AP"] == metrics["AP"]
    assert len(validator.scores.report.per_class) == 6
    assert len(validator.entries) == found
    again, _ = run(validator, data, model)
    assert again == results  # `start` forgot the first validation
    assert len(validator.entries) == found


def test_images(dataset: Path, model: STMask, tmp_path: Path) -> None:
    paths = {
        "valid_annotations": str(image_file(dataset, tmp_path)),
        "valid_frames": str(dataset / "valid" / "JPEGImages"),
    }
    data = ImageDataModule(train=None, preprocessor=SMALL, **paths)
    validator = validator_for(data)
    assert validator is not None
    results, metrics = run(validator, data, model)
    assert [type(result) for result in results] == [ImageResult] * 8  # four frames of two videos
    assert tuple(metrics) == data.task.judged_by
    assert validator.scores.metrics == metrics
    assert len(validator.entries) == sum(len(result.instances) for result in results)  # type: ignore[attr-defined]
    for result in results:
        scores = [instance.score for instance in result.instances]  # type: ignore[attr-defined]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) <= 100


@pytest.mark.parametrize(("task", "taken"), [(Videos, "AR100"), (Images, "box_AP")])
def test_a_metric_of_ones_own_has_a_name_of_its_own(task: type[Videos | Images], taken: str) -> None:
    with pytest.raises(ConfigError, match=f"data.task.metrics.{taken}: {taken} is a metric of stmask"):
        task(metrics={taken: tracks})


# --- several processes


def recorded(task: Task, dataset: VideoDataset, folder: Path, *, rank: int = 0, world: int = 1) -> Validator:
    """A validator that has recorded a share of made results."""
    truth = task.truth(dataset.annotations_path)
    validator = Validator(task, truth, truth.category_ids)
    masks = {entry["id"]: entry for entry in json.loads(dataset.annotations_path.read_text())["annotations"]}
    for place in range(rank, len(dataset), world):
        clip = VideoClips(dataset)[place]
        own = [entry for entry in masks.values() if entry.get("video_id", entry.get("image_id")) == clip.video_id]
        if isinstance(task, Images):
            found = [
                ImageInstance(1 + n % 3, 0.9 - n / 9, (1.0, 2.0, 30.0, 40.0), e["segmentation"])
                for n, e in enumerate(own)
            ]
            validator.record(clip, ImageResult(clip.video_id, tuple(found)))
        else:
            segmentations = [tuple(e["segmentations"]) for e in own]
            tracked = [TrackResult(n, 1 + n % 3, 0.9 - n / 9, masks) for n, masks in enumerate(segmentations)]
            validator.record(clip, VideoResult(clip.video_id, len(clip), tuple(tracked)))
    return validator


def _validate_a_share(rank: int, port: int, task: Task, dataset: VideoDataset, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=3)
    validator = recorded(task, dataset, folder, rank=rank, world=3)
    (folder / f"{rank}.json").write_text(json.dumps([validator.finish(), validator.entries]))
    distributed.destroy_process_group()


@pytest.mark.parametrize("task", [Videos(), Images()])
def test_every_process_has_the_results_of_all_in_the_order_of_the_dataset(
    dataset: Path, tmp_path: Path, task: Task
) -> None:
    """Two videos for three processes, of which one has none; eight images."""
    path = image_file(dataset, tmp_path) if isinstance(task, Images) else dataset / "valid.json"
    document = json.loads(path.read_text())
    key = "images" if isinstance(task, Images) else "videos"
    document[key].reverse()  # the ids are not in order
    (tmp_path / "valid.json").write_text(json.dumps(document))
    split = VideoDataset(tmp_path / "valid.json", dataset / "valid" / "JPEGImages")
    alone = recorded(task, split, tmp_path)
    metrics = alone.finish()
    assert 0 < metrics["AP"] < 1
    ids = list(dict.fromkeys(entry.get("video_id", entry.get("image_id")) for entry in alone.entries))
    assert ids == [item["id"] for item in document[key] if item["id"] in ids]
    assert ids != sorted(ids)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    arguments = (port, task, split, tmp_path)
    torch.multiprocessing.start_processes(_validate_a_share, args=arguments, nprocs=3, start_method="fork")
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [metrics, json.loads(json.dumps(alone.entries))]


def test_the_validated_split_may_list_its_classes_otherwise(
    dataset: Path, model: STMask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = json.loads((dataset / "valid.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    frames = {"valid_frames": str(dataset / "valid" / "JPEGImages")}

    def found(categories: list[dict[str, object]]) -> list[tuple[str, float]]:
        there = {category["id"] for category in categories}
        annotations = [entry for entry in document["annotations"] if entry["category_id"] in there]
        (tmp_path / "v.json").write_text(json.dumps(document | {"categories": categories, "annotations": annotations}))
        data = VISDataModule(
            root=str(dataset), preprocessor=SMALL, valid_annotations=str(tmp_path / "v.json"), **frames
        )
        data.setup("fit")
        validator = validator_for(data)
        assert validator is not None
        run(validator, data, model)
        return [(names[entry["category_id"]], entry["score"]) for entry in validator.entries]

    every = found(document["categories"])
    assert len({name for name, _ in every}) > 1
    assert found(document["categories"][::-1]) == every
    assert not caplog.records
    assert found(document["categories"][:-1]) == [entry for entry in every if entry[0] != names[6]]
    assert f"so not validated: {names[6]}" in caplog.text


def test_without_a_split_there_is_none_and_without_annotations_an_error(dataset: Path, tmp_path: Path) -> None:
    assert validator_for(VISDataModule(root=str(dataset), valid=None)) is None
    document = json.loads((dataset / "valid.json").read_text())
    crowds = [track | {"iscrowd": 1} for track in document.pop("annotations")]
    unlabelled = tmp_path / "unlabelled.json"
    for labels in ({}, {"annotations": None}, {"annotations": []}, {"annotations": crowds}):
        unlabelled.write_text(json.dumps(document | labels))
        with pytest.raises(DataError, match=r"has no annotations .*: data\.valid=null trains .*`stmask data split`"):
            validator_for(VISDataModule(root=str(dataset), valid_annotations=str(unlabelled)))


def test_an_image_training_cannot_be_validated_with_videos(dataset: Path) -> None:
    cfg = compose("train", ["data=coco_images", f"data.root={dataset}", "data.train=null"])
    data = instantiate(cfg.data, _convert_="all")
    with pytest.raises(DataError, match="holds 2 videos of 8 frames, not images"):
        data.setup("validate")
