from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from official.reference import DATA, R50, R50_ADA
from torch import Tensor, nn

import stmask
from stmask.checkpoints import ModelCard, build_model, save_model
from stmask.commands import export as export_command
from stmask.commands import import_weights as import_command
from stmask.data.classes import YOUTUBE_VIS_2019, YOUTUBE_VIS_2021
from stmask.errors import CheckpointError, ConfigError, DataError
from stmask.models.layers import ResNet
from stmask.models.stmask import AdaptiveCalibration, AlignedCalibration, PredictionHead, STMask, TemporalFusion
from stmask.official import export, initialise, load, read
from stmask.official.architecture import recognise
from stmask.official.keys import to_official, to_ours
from stmask.official.quirks import KernelsFirstHead, UnfusedDetector
from stmask.official.translation import to_official_state, translate

VARIANTS = sorted(path.name.removesuffix(".keys.json") for path in DATA.glob("*.keys.json"))
HIDDEN = (8, 8, 8)


def published_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in json.loads((DATA / f"{variant}.keys.json").read_text()).items()}


def small_network(*, num_classes: int = 40, embedding_dim: int = 6, window: int | None = 11, **head: Any) -> STMask:
    """A network that the authors' format can tell, but with few channels."""
    torch.manual_seed(0)
    return STMask(
        backbone=ResNet(depth=18, dcn_interval=2, frozen_norm=True),
        num_classes=num_classes,
        channels=4,
        num_prototypes=5,
        head=lambda **shared: PredictionHead(**shared, embedding_dim=embedding_dim, **head),
        temporal=None if window is None else lambda **shared: TemporalFusion(**shared, size=window, hidden=HIDDEN),
    )


def small_config(num_classes: int) -> dict[str, Any]:
    """What the card of such a network says of it."""
    return {
        "_target_": "stmask.models.stmask.STMask",
        "num_classes": num_classes,
        "channels": 4,
        "num_prototypes": 5,
        "backbone": {"_target_": "stmask.models.layers.ResNet", "depth": 18, "dcn_interval": 2, "frozen_norm": True},
        "head": {"_target_": "stmask.models.stmask.PredictionHead", "_partial_": True, "embedding_dim": 6},
        "temporal": {
            "_target_": "stmask.models.stmask.TemporalFusion",
            "_partial_": True,
            "size": 11,
            "hidden": list(HIDDEN),
        },
    }


def official_file(folder: Path, model: nn.Module, name: str = "weights.pth") -> Path:
    path = folder / name
    torch.save(to_official_state(model), path)
    return path


class TestKeys:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_each_published_name_has_one_of_ours_and_back(self, variant: str) -> None:
        names = list(published_shapes(variant))
        ours = [to_ours(name) for name in names]
        assert len(set(ours)) == len(names)
        assert [to_official(name) for name in ours if name is not None] == names

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_the_recognised_network_has_exactly_the_published_tensors(self, variant: str) -> None:
        shapes = published_shapes(variant)
        config = recognise(shapes, source=variant).model_config(quirks=True)
        with torch.device("meta"):
            model = build_model(config, num_classes=config.pop("num_classes"))
        assert {to_official(name): tuple(value.shape) for name, value in model.state_dict().items()} == shapes

    @pytest.mark.parametrize("name", ["fc.weight", "backbone.layer1.0.conv1.weight", "semantic_seg_conv.weight", ""])
    def test_other_names_have_no_place(self, name: str) -> None:
        assert to_ours(name) is None


class TestRecognition:
    @pytest.mark.parametrize(
        ("variant", "facts"),
        [
            ("STMask_plus_resnet50", {"depth": 50, "dcn_interval": 2, "align": "none", "window": 11}),
            ("STMask_plus_resnet50_ada", {"align": "ada", "branches": ("class",), "centerness": True}),
            ("STMask_plus_resnet50_ali", {"align": "ali", "branches": ("class",)}),
            ("STMask_plus_resnet50_notf", {"window": None, "embedding_dim": 128, "num_classes": 40}),
            ("STMask_plus_base_ada", {"depth": 101, "dcn_interval": 3, "kernels": ((3, 3), (3, 5), (5, 3))}),
        ],
    )
    def test_published(self, variant: str, facts: dict[str, Any]) -> None:
        found = recognise(published_shapes(variant), source=variant)
        assert {name: getattr(found, name) for name in facts} == facts

    @pytest.mark.parametrize(
        "head",
        [
            {},
            {"align": AdaptiveCalibration()},
            {"align": AlignedCalibration(branches=["mask", "track"])},
            {"centerness": False, "embedding_dim": 0},
            {"kernels": [[3, 3], [3, 3]]},
            {"num_classes": 3, "window": None},
            {"window": 13},
        ],
    )
    def test_ours_under_the_authors_names(self, head: dict[str, Any], tmp_path: Path) -> None:
        if head.get("window") == 13:
            model = small_network(**head)
            model.temporal.level = "P3"
        else:
            model = small_network(**head)
        export(model, tmp_path / "out.pth")
        back = load(tmp_path / "out.pth", quirks=False)
        for (name, got), (other, wanted) in zip(back.state_dict().items(), model.state_dict().items(), strict=True):
            assert name == other
            assert torch.equal(got, wanted)
        frames = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            a, b = back(frames), model.eval()(frames)
            embeddings = [predictions.branches.everywhere()[1] for predictions in (a, b)]
        assert torch.equal(a.class_logits, b.class_logits)
        assert torch.equal(*embeddings)

    def test_a_network_that_their_format_cannot_tell_is_not_exported(self, tmp_path: Path) -> None:
        for model, message in [
            (small_network(scales=[1.0, 1.5]), "anchors"),
            (small_network(window=9), "81 correlation maps"),
            (small_network(window=13), "read as P3"),
        ]:
            with pytest.raises(CheckpointError, match=message):
                export(model, tmp_path / "out.pth")
        assert list(tmp_path.iterdir()) == []


class TestLoad:
    def test_ready_to_use(self, tmp_path: Path) -> None:
        model = load(official_file(tmp_path, small_network(), "STMask_YTVIS2021.pth"))
        assert not model.training
        assert model.card.class_names[:2] == ("airplane", "bear")
        assert model.card.model["tracker"]["forget_after"] is None
        assert (model.card.preprocessor.height, model.card.preprocessor.width) == (360, 640)

    @pytest.mark.parametrize(
        ("name", "classes", "first"),
        [("a.pth", 40, "person"), ("a.pth", 25, "Person"), ("a.pth", 80, "person"), ("a.pth", 7, "class 1")],
    )
    def test_class_names_follow_from_their_number(self, name: str, classes: int, first: str, tmp_path: Path) -> None:
        model = load(official_file(tmp_path, small_network(num_classes=classes), name))
        assert len(model.card.class_names) == classes
        assert model.card.class_names[0] == first

    def test_class_names_can_be_given(self, tmp_path: Path) -> None:
        path = official_file(tmp_path, small_network(num_classes=2))
        assert load(path, class_names=["a", "b"]).card.class_names == ("a", "b")
        with pytest.raises(ConfigError, match="2 classes, 1 names"):
            load(path, class_names=["a"])

    def test_quirks_only_where_they_are_wanted(self, tmp_path: Path) -> None:
        path = official_file(tmp_path, small_network())
        assert type(load(path).head) is KernelsFirstHead
        clean = load(path, quirks=False)
        assert type(clean.head) is PredictionHead
        assert clean.detector.nms.max_detections == 100
        assert "tracker" not in clean.card.model
        assert type(load(official_file(tmp_path, small_network(window=None))).detector) is UnfusedDetector

    def test_changes_are_laid_over_the_card(self, tmp_path: Path) -> None:
        model = stmask.load(official_file(tmp_path, small_network()), model={"tracker": {"max_age": 3}})
        assert model.card.model["tracker"]["max_age"] == 3
        assert model.card.model["tracker"]["forget_after"] is None

    def test_what_has_no_use_is_dropped_with_its_reason(self, tmp_path: Path) -> None:
        tensors = {f"module.{name}": value for name, value in to_official_state(small_network()).items()}
        tensors["module.semantic_seg_conv.weight"] = torch.zeros(3, 4, 1, 1)
        tensors["module.fpn.downsample_layers.2.weight"] = torch.zeros(4, 4, 3, 3)
        tensors["module.backbone.layer1.0.conv1.weight"] = torch.zeros(1)
        torch.save(tensors, tmp_path / "w.pth")
        imported = read(tmp_path / "w.pth")
        assert set(imported.dropped) == {
            "semantic_seg_conv.weight",
            "fpn.downsample_layers.2.weight",
            "backbone.layer1.0.conv1.weight",
        }
        assert len(imported.used) == len(tensors) - 3
        assert "semantic_seg_conv.weight: semantic segmentation loss" in imported.report()

    def test_counters_that_old_files_lack_are_zero(self, tmp_path: Path) -> None:
        tensors = to_official_state(small_network())
        kept = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
        imported = translate(kept, source="old.pth")
        assert len(imported.filled) == len(tensors) - len(kept)
        assert int(imported.model().backbone.bn1.num_batches_tracked) == 0


def changed(**changes: Any) -> dict[str, Any]:
    """The tensors of a small network with some replaced, or left out where the change is None."""
    tensors: dict[str, Any] = {**to_official_state(small_network()), **changes}
    return {name: value for name, value in tensors.items() if value is not None}


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"proto_net.2.bias": None}, r"w\.pth does not fit .*: missing proto_net\.2\.bias$"),
            ({"prediction_layers.0.focus.weight": torch.zeros(1)}, r"unexpected prediction_layers\.0\.focus\.weight"),
            ({"TemporalNet.fc.weight": torch.zeros(4, 7)}, r"TemporalNet\.fc\.weight is \(4, 7\), expected \(4, 8\)"),
            ({"proto_net.10.weight": None}, r"no tensor proto_net\.10\.weight"),
            ({"proto_net.2.bias": "gone"}, r"w\.pth: proto_net\.2\.bias is of type str, not a tensor"),
            ({"proto_net.2.bias": torch.full((4,), torch.inf)}, r"protonet\.before\.1\.bias holds values that are NaN"),
            ({"backbone.layers.3.1.conv2.conv_offset_mask.weight": torch.zeros(1)}, "at no regular interval"),
            ({"backbone.layers.3.5.conv1.weight": torch.zeros(1)}, "not a ResNet-18, -34, -50 or -101"),
        ],
    )
    def test_what_does_not_fit_is_named(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        torch.save(changed(**changes), tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / "w.pth")

    def test_another_project(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match="no STMask network: no tensor .*; it has weight, bias"):
            load(tmp_path / "w.pth")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"", "is empty"),
            (pickle.dumps({"a": Path("x")}, protocol=2), "could run code"),
        ],
    )
    def test_what_is_not_a_checkpoint(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / "w.pth")

    def test_truncated(self, tmp_path: Path) -> None:
        path = official_file(tmp_path, small_network())
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="truncated"):
            load(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
            load(tmp_path / "nowhere.pth")


class TestInitialise:
    def test_another_class_count_leaves_only_the_class_layers_fresh(self, tmp_path: Path) -> None:
        path = official_file(tmp_path, small_network(num_classes=80))
        torch.manual_seed(1)
        model = small_network(num_classes=40)
        report = initialise(model, path)
        assert set(report.fresh) == {f"head.class_outputs.{k}.{part}" for k in range(3) for part in ("weight", "bias")}
        assert report.fresh["head.class_outputs.0.bias"] == "(81,) in the file, (41,) here"
        assert report.unused == []
        assert 0.9 < report.share < 1
        assert not report.mostly_fresh

    def test_yolact(self, tmp_path: Path) -> None:
        """As the authors start: backbone, pyramid, prototypes and the shared tower; the head's own layers are fresh."""
        tensors: dict[str, Tensor] = {
            name: torch.full_like(value, 0.5)
            for name, value in to_official_state(small_network()).items()
            if name.startswith(("backbone.", "fpn.", "proto_net.", "prediction_layers.0.upfeature."))
        }
        for branch, values in (("bbox", 12), ("conf", 243), ("mask", 15)):
            tensors[f"prediction_layers.0.{branch}_layer.weight"] = torch.zeros(values, 4, 3, 3)
        tensors["semantic_seg_conv.weight"] = torch.zeros(80, 4, 1, 1)
        torch.save(tensors, tmp_path / "yolact.pth")
        model = small_network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        report = initialise(model, tmp_path / "yolact.pth")
        after = model.state_dict()
        assert all((after[name] == 0.5).all() for name in report.taken if after[name].is_floating_point())
        assert all(torch.equal(after[name], before[name]) for name in report.fresh)
        assert all(name.startswith(("head.", "temporal.")) for name in report.fresh)
        assert not any(name.startswith("head.tower.") for name in report.fresh)
        layers = [f"prediction_layers.0.{branch}_layer.weight" for branch in ("bbox", "conf", "mask")]
        assert list(report.unused) == [*layers, "semantic_seg_conv.weight"]  # by the file's own names
        lines = str(report).splitlines()
        assert lines[0] == report.summary()
        names = [line.split(":")[0].strip() for line in lines if line.startswith("  ")]
        assert sorted(names) == sorted([*report.taken, *report.fresh, *report.unused])

    def test_rows_of_the_class_layers_go_by_name(self, tmp_path: Path) -> None:
        theirs = small_network(num_classes=3)
        save_model(tmp_path / "w.ckpt", theirs, ModelCard(model=small_config(3), class_names=("cat", "dog", "cup")))
        name = "head.class_outputs.1.weight"
        rows = theirs.state_dict()[name]
        for classes, wanted in [(("cup", "dog", "cat"), [0, 3, 2, 1]), (("Dog", "cup"), [0, 2, 3])]:
            model = small_network(num_classes=len(classes))
            report = initialise(model, tmp_path / "w.ckpt", class_names=classes)
            assert report.fresh == {}
            assert torch.equal(model.state_dict()[name], rows[wanted])
        report = initialise(small_network(num_classes=3), tmp_path / "w.ckpt", class_names=("cat", "cow", "cup"))
        assert report.fresh[name] == "for other classes in the file, cow is not among them"
        assert all(".class_outputs." in fresh for fresh in report.fresh)

    def test_the_assumed_names_of_the_authors_files_count_too(self, tmp_path: Path) -> None:
        path = official_file(tmp_path, small_network(num_classes=40))
        assert initialise(small_network(num_classes=40), path, class_names=YOUTUBE_VIS_2019).fresh == {}
        other = initialise(small_network(num_classes=40), path, class_names=YOUTUBE_VIS_2021)
        assert len(other.fresh) == 6

    def test_our_own_names_without_a_card(self, tmp_path: Path) -> None:
        torch.save({f"_orig_mod.{name}": v for name, v in small_network().state_dict().items()}, tmp_path / "w.pth")
        assert initialise(small_network(), tmp_path / "w.pth").share == 1

    @pytest.mark.parametrize(
        ("kept", "message"),
        [
            (("fpn.lat_layers.0.weight",), r"hardly anything in .*w\.pth fits .*: 1 of its \d+ tensors, 0\.0% of"),
            (("backbone.conv1.",), "hardly anything"),
            (
                ("backbone.layers.0.", "backbone.layers.3."),
                r"only a part of .* backbone, 55 of its 100 .*\(backbone\.bn1",
            ),
            (("fpn.", "backbone.layers.3."), "choose the model/backbone"),
        ],
    )
    def test_what_fits_by_accident_is_refused(self, kept: tuple[str, ...], message: str, tmp_path: Path) -> None:
        tensors = to_official_state(small_network())
        torch.save({name: v for name, v in tensors.items() if name.startswith(kept)}, tmp_path / "w.pth")
        model = small_network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            initialise(model, tmp_path / "w.pth")
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def test_a_backbone_alone_belongs_elsewhere(self, tmp_path: Path) -> None:
        state = small_network().backbone.state_dict()
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(
            CheckpointError, match=r"holds a backbone alone: give it as model\.backbone\.weights=.*w\.pth"
        ):
            initialise(small_network(), tmp_path / "w.pth")

    def test_weights_that_are_none_are_named(self, tmp_path: Path) -> None:
        torch.save(changed(**{"proto_net.0.bias": torch.full((4,), torch.nan)}), tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=r"protonet\.before\.0\.bias holds values that are NaN or infinite"):
            initialise(small_network(), tmp_path / "w.pth")

    def test_nothing_fits(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match="nothing in .* fits"):
            initialise(small_network(), tmp_path / "w.pth")


class TestCommands:
    def test_import_and_export(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from stmask.loading import load as load_any

        weights = official_file(tmp_path, small_network(num_classes=2))
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        (tmp_path / "set.json").write_text(json.dumps({"categories": categories}))
        arguments = [str(weights), str(tmp_path / "ours.ckpt"), "--classes", str(tmp_path / "set.json"), "--clean"]
        assert import_command.main(arguments) == 0
        printed = capsys.readouterr().out
        assert "ResNet-18, deformable at interval 2" in printed
        used = re.search(r"used (\d+) tensors: (.*)", printed)
        assert used is not None
        counts = [int(part.split()[1]) for part in used[2].split(", ")]
        assert sum(counts) == int(used[1]) == len(torch.load(weights, weights_only=True))
        model = load_any(tmp_path / "ours.ckpt")
        assert model.card.class_names == ("cat", "dog")
        assert export_command.main([str(tmp_path / "ours.ckpt"), str(tmp_path / "again.pth")]) == 0
        first, second = (torch.load(path, weights_only=True) for path in (weights, tmp_path / "again.pth"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_import_with_quirks_is_read_back(self, tmp_path: Path) -> None:
        from stmask.loading import load as load_any

        weights = official_file(tmp_path, small_network())
        assert import_command.main([str(weights), str(tmp_path / "ours.ckpt")]) == 0
        frames = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(load_any(tmp_path / "ours.ckpt")(frames).centerness, load(weights)(frames).centerness)

    def test_import_refuses_a_file_without_categories(self, tmp_path: Path) -> None:
        (tmp_path / "set.json").write_text("{}")
        with pytest.raises(DataError, match="no categories"):
            import_command.main(["w.pth", "out.ckpt", "--classes", str(tmp_path / "set.json")])


def test_the_networks_of_the_tables_are_among_the_published() -> None:
    assert {R50, R50_ADA} <= set(VARIANTS)
