"""What a training is validated by, for videos and for images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine.tiny import TINY
from hydra.utils import instantiate
from omegaconf import OmegaConf

from stmask.checkpoints import ModelCard, build_model
from stmask.config import compose
from stmask.data import ImageDataModule, VISDataModule
from stmask.data.convert import to_images
from stmask.engine.validation import ImageValidator, Validator, VideoValidator, validator_for
from stmask.errors import DataError
from stmask.models.stmask import STMask
from stmask.ops.frames import FramePreprocessor
from stmask.structures import ImageResult, VideoResult

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


def run(validator: Validator, data: VISDataModule, model: STMask) -> tuple[list[object], dict[str, float]]:
    validator.start(model, card(data.class_names), device=torch.device("cpu"))
    results = [validator.step(item) for item in data.val_dataloader()]
    return results, validator.finish()


def test_videos(dataset: Path, model: STMask) -> None:
    data = VISDataModule(root=str(dataset), train=None, preprocessor=SMALL)
    validator = validator_for(data)
    assert isinstance(validator, VideoValidator)
    results, figures = run(validator, data, model)
    assert [type(result) for result in results] == [VideoResult] * 2
    assert set(VideoValidator.figures) <= set(figures)
    assert "explain/cost/wrong_class" in figures
    assert validator.report.stats["AP"] == figures["AP"]
    assert len(validator.report.per_class) == 6
    assert validator.metric.explanation().total.tracks > 0
    assert len(validator.results()) == sum(len(result.tracks) for result in results)  # type: ignore[attr-defined]
    assert validator.state_dict() == {}
    again, _ = run(validator, data, model)
    assert again == results  # `start` forgot the first validation


def test_images(dataset: Path, model: STMask, tmp_path: Path) -> None:
    paths = {
        "valid_annotations": str(image_file(dataset, tmp_path)),
        "valid_frames": str(dataset / "valid" / "JPEGImages"),
    }
    data = ImageDataModule(train=None, preprocessor=SMALL, **paths)
    validator = validator_for(data)
    assert isinstance(validator, ImageValidator)
    results, figures = run(validator, data, model)
    assert [type(result) for result in results] == [ImageResult] * 8  # four frames of two videos
    assert tuple(figures) == ImageValidator.figures
    assert validator.report.stats == figures
    assert len(validator.results()) == sum(len(result.instances) for result in results)  # type: ignore[attr-defined]
    assert validator.state_dict() == {}
    for result in results:
        scores = [instance.score for instance in result.instances]  # type: ignore[attr-defined]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) <= 100


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
        return [(names[entry["category_id"]], entry["score"]) for entry in validator.results()]

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
