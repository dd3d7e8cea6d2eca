"""An image network from training to evaluation, and a video training that starts from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY
from omegaconf import OmegaConf

from stmask.checkpoints import ModelCard, build_model
from stmask.cli import main
from stmask.config import compose
from stmask.data.convert import to_images
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.engine.train import train
from stmask.evaluation.image_ap import IMAGE_METRICS
from stmask.evaluation.image_truth import ImageGroundTruth

# the image experiments' network, as small as TINY's
TINY_IMAGES = [
    "experiment=coco/r50dcn_fca_ada",
    "recipe=tiny",
    "data=coco_images",
    "data.preprocessor.height=70",  # no multiple of any stride
    "data.preprocessor.width=90",
    "data.batch_size=2",
    "data.samples_per_epoch=4",
    "model.backbone.width=8",
    "model.channels=16",
    "model.num_prototypes=4",
    "scheduler.warmup_steps=1",
    "trainer.max_steps=4",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic videos of two frames as COCO images, one of them a crowd's."""
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=2)
    root = write_dataset(tmp_path_factory.mktemp("data") / "images", config, videos=4, valid_videos=2)
    for split in ("train", "valid"):
        path = root / f"{split}.json"
        document = to_images(json.loads(path.read_text()))
        document["annotations"][-1]["iscrowd"] = 1
        path.write_text(json.dumps(document))
    return root


def fit(images: Path, output: Path, *overrides: str) -> dict[str, float]:
    return train(compose("train", [*TINY_IMAGES, f"data.root={images}", f"output_dir={output}", *overrides]))


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    fit(images, output)
    return output


def test_a_training_logs_masks_and_boxes(run: Path) -> None:
    with (run / "metrics.csv").open() as handle:
        logged = {name for row in csv.DictReader(handle) for name, value in row.items() if value}
    assert {f"valid/{name}" for name in IMAGE_METRICS} <= logged
    assert {"train/box", "train/class", "train/mask", "train/centerness"} <= logged
    assert not {"train/track", "train/shift_box"} & logged
    assert "valid/box_AP" in json.loads((run / "summary.json").read_text())


def test_any_of_the_figures_can_decide(images: Path, run: Path, tmp_path: Path) -> None:
    figures = fit(images, tmp_path, "monitor=valid/box_AP50", "trainer.max_steps=2")
    assert (tmp_path / "checkpoints/best.ckpt").exists()
    assert figures["valid/box_AP50"] >= 0


OWN = "engine.test_images.share"  # a metric of one's own: a file with a function, and these lines
WITH_OWN = [f"+data.task.metrics.share._target_={OWN}", "+data.task.metrics.share._partial_=true"]


def share(truth: ImageGroundTruth, entries: list[dict[str, Any]], item_ids: list[int]) -> float:
    return len(entries) / len(item_ids)


def test_a_metric_of_ones_own_is_logged_decides_and_is_evaluated(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = fit(images, tmp_path, *WITH_OWN, "monitor=valid/share", "trainer.max_steps=2")
    evaluation = ["evaluate", f"checkpoint={tmp_path / 'checkpoints/best.ckpt'}", f"output={tmp_path / 'out'}"]
    for words, found in (([], None), ([f"trust=[{OWN}]"], figures["valid/share"]), (WITH_OWN, figures["valid/share"])):
        assert main([*evaluation, *words]) == 0
        assert json.loads((tmp_path / "out/metrics.json").read_text()).get("share") == found
        assert ("share: " in capsys.readouterr().out) == (found is not None)


def test_a_resumed_run_is_the_same_run(images: Path, run: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, "trainer.max_steps=2", "scheduler.total_steps=4")
    fit(images, tmp_path, "resume=auto")
    whole, resumed = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for folder in (run, tmp_path)
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_evaluate_reports_both_and_writes_cocos_format(
    images: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert (
        main(["evaluate", f"checkpoint={checkpoint}", f"output={tmp_path}", "model.detector.score_threshold=0.02"]) == 0
    )
    printed = capsys.readouterr().out
    for word in ("mask", "box", "AP75", "32²", "star", "4 images"):
        assert word in printed
    entries = json.loads((tmp_path / "results.json").read_text())
    assert {tuple(sorted(entry)) for entry in entries} == {("bbox", "category_id", "image_id", "score", "segmentation")}
    assert all(entry["segmentation"]["size"] == [64, 96] for entry in entries)
    assert max(sum(entry["image_id"] == n for entry in entries) for n in (1, 2, 3, 4)) <= 100
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert set(IMAGE_METRICS) < set(figures)


def test_an_evaluation_is_that_of_the_training(images: Path, run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", f"checkpoint={run / 'checkpoints/last.ckpt'}", f"output={tmp_path}"]) == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    with (run / "metrics.csv").open() as handle:
        last = [row for row in csv.DictReader(handle) if row["valid/AP"]][-1]
    for name in IMAGE_METRICS:
        assert float(last[f"valid/{name}"]) == pytest.approx(figures[name], abs=1e-6)


def test_unlabelled_images_are_predicted_on(images: Path, run: Path, tmp_path: Path) -> None:
    document = json.loads((images / "valid.json").read_text())
    del document["annotations"]
    annotations = tmp_path / "unlabelled.json"
    annotations.write_text(json.dumps(document))
    checkpoint = f"checkpoint={run / 'checkpoints/last.ckpt'}"
    assert main(["evaluate", checkpoint, f"output={tmp_path}", f"data.valid_annotations={annotations}"]) == 0
    assert "AP" not in json.loads((tmp_path / "metrics.json").read_text())


def test_a_video_training_starts_from_it(dataset: Path, run: Path, tmp_path: Path) -> None:
    overrides = [f"data.root={dataset}", f"init_from={run / 'checkpoints/best.ckpt'}", "data.valid=null"]
    frozen = ["optimizer.lr=0", "optimizer.weight_decay=0", f"output_dir={tmp_path}"]
    train(compose("train", [*TINY, "model/head/align=ada_class", *overrides, *frozen]))
    before = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    content = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    after = content["state_dict"]
    assert all(torch.equal(after[name], value) for name, value in before.items())
    fresh = {name for name in after if name not in before}
    assert {name.split(".")[1] for name in fresh} == {"head", "temporal"}
    assert all("track" in name for name in fresh if name.startswith("model.head"))
    report = (tmp_path / "init_from.txt").read_text()
    assert f"{len(before)} tensors taken, {len(fresh)} fresh, 0 of the file unused" in report
    assert "temporal.coeff.weight: not in the file" in report
    assert ModelCard.from_dict(content["stmask"]["card"]).preprocessor.padded_size == (64, 96)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("monitor=valid/APX", "monitor must be one of valid/AP,"),
        ("data.gap=3", "unknown key 'data.gap'"),
        ("data.train=nowhere", "no annotations of split 'nowhere'"),
    ],
)
def test_mistakes_are_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main(["train", *TINY_IMAGES, f"data.root={images}", f"output_dir={tmp_path}", override]) == 2
    assert message in capsys.readouterr().err


def network(experiment: str) -> dict[str, tuple[int, ...]]:
    cfg = compose("train", [f"experiment={experiment}"])
    with torch.device("meta"):
        model = build_model(OmegaConf.to_container(cfg.model, resolve=True), num_classes=80)  # type: ignore[arg-type]
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("ours", "theirs"), [("r50dcn", "resnet50"), ("r101dcn", "base")])
@pytest.mark.parametrize("align", ["", "_ali", "_ada"])
def test_the_networks_are_those_of_the_release(ours: str, theirs: str, align: str) -> None:
    assert network(f"coco/{ours}_fca{align}") == network(f"official/yolact_plus_{theirs}{align}_54")


@pytest.mark.parametrize("depth", ["r50dcn", "r101dcn"])
def test_the_baseline_has_square_kernels_only(depth: str) -> None:
    shapes = network(f"coco/{depth}_plain")
    kernels = {shape[2:] for name, shape in shapes.items() if "head.class_outputs" in name and len(shape) == 4}
    assert kernels == {(3, 3)}
    assert set(shapes) == set(network(f"coco/{depth}_fca"))
