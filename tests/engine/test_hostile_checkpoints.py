"""Files that want something done: every road by which a checkpoint is read refuses them, and nothing happens."""

from __future__ import annotations

import copy
import io
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import stmask
from stmask.benchmarks.inference import load as load_network
from stmask.checkpoints import ModelCard, build_model
from stmask.checkpoints.format import ENTRY
from stmask.cli import main
from stmask.commands.predict import _predict
from stmask.config import compose
from stmask.config_schemas import PredictSchema
from stmask.engine.evaluate import evaluate
from stmask.engine.resume import check_content
from stmask.errors import CheckpointError, ConfigError, DataError
from stmask.experiments.benchmark import measure_runs
from stmask.loading import initialise
from stmask.models.stmask import STMask
from stmask.plots import places

SECRET = "the value of a variable"
MODEL: dict[str, Any] = {
    "_target_": "stmask.models.stmask.STMask",
    "num_classes": 2,
    "channels": 8,
    "num_prototypes": 4,
    "backbone": {
        "_target_": "stmask.models.layers.ResNet",
        "depth": 18,
        "width": 8,
        "norm": "group",
        "weights": "/gone.pth",
    },
    "head": {
        "_target_": "stmask.models.stmask.PredictionHead",
        "_partial_": True,
        "embedding_dim": 4,
        "kernels": [[3, 3], [3, 5]],
        "align": {"_target_": "stmask.models.stmask.AdaptiveCalibration", "branches": ["class"]},
    },
    "temporal": {"_target_": "stmask.models.stmask.TemporalFusion", "_partial_": True, "size": 3, "hidden": [4, 4, 4]},
    "detector": {
        "_target_": "stmask.models.stmask.Detector",
        "score_threshold": 0.05,
        "nms": {"_target_": "stmask.ops.nms.CrossClassNMS", "top_k": 200},
    },
    "tracker": {"_target_": "stmask.models.stmask.TemporalTracker", "_partial_": True, "max_age": 10},
    "loss": {"_target_": "stmask.models.stmask.Criterion", "weights": {"_target_": "stmask.models.stmask.LossWeights"}},
}
DATA: dict[str, Any] = {
    "_target_": "stmask.data.VISDataModule",
    "root": "/gone",
    "valid": "valid",
    "prefetch": 4,
    "augmentation": {"_target_": "stmask.data.Augmentation", "flip": 0.5},
    "mix": None,
    "cache": None,
}


@pytest.fixture(scope="module")
def network() -> STMask:
    config = copy.deepcopy({**MODEL, "backbone": {**MODEL["backbone"], "weights": None}})
    return build_model(config, num_classes=config.pop("num_classes"))


@pytest.fixture(scope="module")
def base(network: STMask) -> dict[str, Any]:
    """What a run of this network writes, as far as it is read again."""
    card = ModelCard(model=MODEL, class_names=("cup", "hand"), data=DATA, origin="a test").to_dict()
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    return {
        "state_dict": state,
        ENTRY: {"format": 2, "card": card},
        "optimizer_states": [],
        "epoch": 0,
        "global_step": 1,
    }


Road = Callable[[Path, STMask, Any], Any]


def _segment(path: Path, network: STMask, cfg: Any) -> None:
    frames, results = str(cfg.output_root), str(path.parent / "results.json")
    cfg = PredictSchema(checkpoint=str(path), output=results, format=["json"], device="cpu", model={})
    _predict(cfg, [frames])


def _evaluate(path: Path, network: STMask, cfg: Any) -> None:
    cfg.checkpoint, cfg.output, cfg.data = (
        str(path),
        str(path.parent / "evaluation"),
        {"root": str(path.parent / "none")},
    )
    evaluate(cfg)


def _as_command(*words: str) -> Road:
    def run(path: Path, network: STMask, cfg: Any) -> None:
        if main([word.format(path=path, out=path.parent / "out.pth") for word in words]) == 2:
            raise CheckpointError("exit status 2")

    return run


def _tables(path: Path, network: STMask, cfg: Any) -> None:
    problems = measure_runs([path.parent.parent], device="cpu", on_run=lambda line: None)
    if problems:
        raise CheckpointError(problems[0])


ROADS: dict[str, Road] = {
    "load": lambda path, network, cfg: stmask.load(path),
    "evaluate": _evaluate,
    "predict": _segment,
    "init_from": lambda path, network, cfg: initialise(copy.deepcopy(network), path),
    "resume": lambda path, network, cfg: check_content(path, network),
    "import": _as_command("import", "{path}", "{out}"),
    "export": _as_command("export", "{path}", "{out}"),
    "benchmark": lambda path, network, cfg: load_network(str(path), device="cpu", precision="float32"),
    "tables": _tables,
    "notebooks": lambda path, network, cfg: places.network(path.parent.parent),
}

# --- what a file may want

Change = Callable[[dict[str, Any]], Any]


def _set(place: str, value: Any) -> Change:
    """Puts a value at a place of the card, such as model.backbone.depth."""

    def change(content: dict[str, Any]) -> None:
        node: Any = content[ENTRY]["card"]
        *way, last = place.split(".")
        for name in way:
            node = node[name]
        node[last] = value() if callable(value) else value

    return change


def _without(place: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        node: Any = content[ENTRY]["card"]
        *way, last = place.split(".")
        for name in way:
            node = node[name]
        del node[last]

    return change


def _entry(**values: Any) -> Change:
    return lambda content: content[ENTRY].update(values)


def _format_1(settings: Any) -> Change:
    """A card as the first format had it, with its inference settings."""

    def change(content: dict[str, Any]) -> None:
        card = content[ENTRY]["card"]
        content[ENTRY]["format"] = 1
        card["model"] = {
            name: part for name, part in card["model"].items() if name not in ("detector", "tracker", "loss")
        }
        card["inference"] = settings

    return change


def _part(target: Any, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, **arguments}


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _shared(levels: int) -> list[Any]:
    """Ten times ten times .. the same list: little in a file, endless where it is walked through."""
    value: list[Any] = [0] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _tensor(name: str, value: Any) -> Change:
    return lambda content: content["state_dict"].update({name: value})


FIRST = "model.backbone.conv1.weight"
CARDS: dict[str, Change] = {
    # attribute walks, from names that are ours
    "a walk to torch": _set("model", {**MODEL, "_target_": "stmask.models.stmask.torch.utils.collect_env.run"}),
    "a walk of a part": _set("model.backbone", _part("stmask.models.stmask.torch.load", f="x.pth")),
    "a walk to the shell": _set("model.backbone", _part("stmask.files.os.system", command="touch appeared")),
    "a walk by a colon": _set("model.backbone._target_", "stmask.models:STMask"),
    "a module": _set("model.backbone._target_", "stmask.models"),
    "another function of stmask": _set("model.backbone", _part("stmask.files.write_json", path="appeared", value=1)),
    "a part for something else": _set("model.backbone", _part("stmask.data.VISDataModule", cache="appeared")),
    "a function as a part": _set("model.detector", _part("stmask.official.quirks.cropped_mask_bce")),
    # foreign names
    "the shell": _set("model.backbone", _part("os.system", command="touch appeared")),
    "torch's runner": _set("model.backbone", _part("torch.utils.collect_env.run", command="touch appeared")),
    "a builtin": _set("model.backbone", _part("builtins.eval", source="open('appeared', 'w')")),
    "open": _set("model.detector.nms", _part("builtins.open", file="appeared", mode="w")),
    "a folder": _set("model.temporal", _part("os.makedirs", name="appeared", _partial_=True)),
    "a module nobody imported": _set("model.backbone", _part("this.s")),
    "hydra itself": _set("model.backbone", _part("hydra.utils.get_method", path="os.system")),
    "a target within arguments": _set("model.head.kernels", [_part("os.mkdir", path="appeared")]),
    "a target that is a list": _set("model.backbone._target_", ["os.system"]),
    "a target that is none": _set("model.backbone._target_", None),
    "a model without a target": _without("model._target_"),
    # keys of Hydra
    "_args_": _set("model.backbone._args_", ["x"]),
    "_recursive_": _set("model.backbone._recursive_", False),
    "_convert_": _set("model.backbone._convert_", "all"),
    "_partial_ of the network": _set("model._partial_", True),
    "_partial_ of the backbone": _set("model.backbone._partial_", True),
    "_partial_ that is a text": _set("model.head._partial_", "${oc.env:STMASK_SECRET}"),
    # interpolations
    "oc.create": _set("model.backbone", "${oc.create:{_target_: os.system, command: 'touch appeared'}}"),
    "oc.decode": _set("model.channels", "${oc.decode:'8'}"),
    **{
        f"oc.env in {place}": _set(place, "${oc.env:STMASK_SECRET}")
        for place in (
            "model.num_classes", "model.channels", "model.backbone.norm", "model.backbone.weights",
            "model.head.align.branches", "model.temporal.level", "preprocessor.height", "class_names", "origin",
            "model.detector.nms", "model.detector.score_threshold", "model.tracker.forget_after",
            "data.root", "data.valid",
            "data._target_", "data.augmentation",
        )
    },
    "an interpolation as a key": _set("model.backbone", {**MODEL["backbone"], "${oc.env:STMASK_SECRET}": 1}),
    # detector, tracker, losses
    "a foreign detector": _set("model.detector", _part("os.system", command="touch appeared")),
    "a network for a tracker": _set("model.tracker._target_", "stmask.models.stmask.STMask"),
    "a tracker that is called": _set("model.tracker._partial_", False),
    "a shell for a tracker": _set("model.tracker._target_", "os.system"),
    "a walk for suppression": _set("model.detector.nms._target_", "stmask.ops.nms.torch.load"),
    "a shell for the losses": _set("model.loss._target_", "os.system"),
    "a number for the losses": _set("model.loss", 1),
    "forgotten before it is dropped": _set("model.tracker.forget_after", 5),
    "a decay of two": _set("model.tracker.score_decay", 2.0),
    # values
    "channels of 8.5": _set("model.channels", 8.5),
    "channels of true": _set("model.channels", True),
    "channels as a text": _set("model.channels", "8"),
    "a scale that is not a number": _set("model.head.scales", [float("nan")]),
    "an unknown argument": _set("model.backbone.command", "touch appeared"),
    "a list for a backbone": _set("model.backbone", []),
    "a text for an object": _set("model.head.align", "os.system"),
    "a text for a function": _set("model.tracker", "os.system"),
    "no number of classes": _without("model.num_classes"),
    "no classes": _set("model.num_classes", 0),
    "fewer than no classes": _set("model.num_classes", -1),
    "half a class": _set("model.num_classes", 2.5),
    "true classes": _set("model.num_classes", True),
    "classes as a text": _set("model.num_classes", "2"),
    "other names than classes": _set("class_names", ["cup"]),
    "names that are numbers": _set("class_names", [1, 2]),
    "names that are one text": _set("class_names", "ab"),
    "names with half a character": _set("class_names", ["cup", "\ud83d"]),
    "a frame of no height": _set("preprocessor.height", 0),
    "a frame without size": _without("preprocessor"),
    "no deviation": _set("preprocessor.std", [58.0, 0.0, 57.0]),
    "a mean that is not a number": _set("preprocessor.mean", [float("nan")] * 3),
    "two means": _set("preprocessor.mean", [1.0, 2.0]),
    "a preprocessor with more": _set("preprocessor.resize", "os.system"),
    "a tracker with more": _set("model.tracker.command", "touch appeared"),
    "a threshold that is not a number": _set("model.detector.score_threshold", float("nan")),
    "keys that are numbers": _set("model.detector", {1: 2}),
    "settings of an older format": _set("inference", {}),
    "keys that are numbers in data": _set("data.augmentation", {1: 2}),
    "data that are a list": _set("data", []),
    "an unknown part of the card": _set("command", "touch appeared"),
    "a tensor in the card": _set("origin", lambda: torch.zeros(2)),
    "no card": lambda content: content[ENTRY].pop("card"),
    "a card that is a list": _entry(card=[]),
    "a card that is a text": _entry(card="${oc.env:STMASK_SECRET}"),
    "no format": lambda content: content[ENTRY].pop("format"),
    "a format that is true": _entry(format=True),
    "a format of 1.0": _entry(format=1.0),
    "a format to come": _entry(format=3),
    "a format of none": _entry(format=0),
    "a format that is a text": _entry(format="1"),
    "a format that is a list": _entry(format=[1] * 1000),
    # format 1
    **{
        f"format 1: {name}": _format_1(settings)
        for name, settings in {
            "settings that are a list": [],
            "a key that never was": {"command": "touch appeared"},
            "another suppression": {"nms": "os.system"},
            "suppression that is a list": {"nms": ["cross_class"]},
            "a foreign wrapper": {"detector_wrappers": ["os.system"]},
            "a walk as a wrapper": {"detector_wrappers": ["stmask.official.quirks.torch.load"]},
            "wrappers that are a text": {"detector_wrappers": "stmask.official.quirks.tanh_twice"},
            "a wrapper that is a number": {"detector_wrappers": [1]},
            "weights that are a text": {"match_weights": "os.system"},
            "weights with a target": {"match_weights": {"_target_": "os.system", "command": "touch appeared"}},
            "a threshold that is an interpolation": {"score_threshold": "${oc.env:STMASK_SECRET}"},
            "a threshold that is a text": {"score_threshold": "0.5"},
            "an age of a half": {"max_age": 2.5},
        }.items()
    },
}  # fmt: skip
# what only shows beside the file's own tensors
NETWORKS: dict[str, Change] = {
    # sizes
    "no channels": _set("model.channels", 0),
    "no prototypes": _set("model.num_prototypes", 0),
    "channels of ten million": _set("model.channels", 10_000_000),
    "a width of ten million": _set("model.backbone.width", 10_000_000),
    "prototypes without end": _set("model.num_prototypes", 2**60),
    "a window of a billion": _set("model.temporal.size", 1_000_000_001),
    "an integer of 5000 digits": _set("model.channels", 10**4999),
    "as many classes": _set("model.num_classes", 2**40),
    "kernels without end": _set("model.head.kernels", [[3, 3]] * 1000),
    "a kernel of a million": _set("model.head.kernels", [[1_000_001, 3], [3, 5]]),
    "lists in lists": _set("model.head.kernels", lambda: _nested(100)),
    "lists shared": _set("model.head.kernels", lambda: _shared(15)),
    "a list in itself": _set("data.mix", _endless),
    "a long text": _set("origin", "x" * 1_000_000),
    "a frame of a billion": _set("preprocessor.width", 10**9),
    "padding to a billion": _set("preprocessor.divisor", 10**9),
    # tensors
    "a text for a tensor": _tensor(FIRST, "os.system"),
    "a tensor that isn't there": _tensor(FIRST, torch.empty(64, 3, 7, 7, device="meta")),
    "one number for a tensor": _tensor(FIRST, torch.zeros(1).expand(64, 3, 7, 7)),
    "a sparse tensor": _tensor(FIRST, torch.zeros(64, 3, 7, 7).to_sparse()),
    "one tensor too many": _tensor("model.command", torch.zeros(1)),
}


class Code:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _saved(content: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **how)
    return stream.getvalue()


def _old(content: Any) -> bytes:
    return _saved(content, _use_new_zipfile_serialization=False)


def _with_code(function: Any, *arguments: Any, old: bool = False) -> Callable[[dict[str, Any]], bytes]:
    return lambda content: _saved(
        {**content, "hook": Code(function, *arguments)}, _use_new_zipfile_serialization=not old
    )


def _with_member(name: str, text: str) -> Callable[[dict[str, Any]], bytes]:
    def make(content: dict[str, Any]) -> bytes:
        stream = io.BytesIO(_saved(content))
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name, text)
        return stream.getvalue()

    return make


def _packed(content: dict[str, Any]) -> bytes:
    """A gigabyte of zeros beside the tensors, in a file of a megabyte."""
    source, stream = zipfile.ZipFile(io.BytesIO(_saved(content))), io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    return stream.getvalue()


def _pickle_of(pickled: bytes) -> Callable[[dict[str, Any]], bytes]:
    """An archive of torch's with another pickle in it."""

    def make(content: dict[str, Any]) -> bytes:
        source, stream = zipfile.ZipFile(io.BytesIO(_saved({}))), io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name in source.namelist():
                archive.writestr(name, pickled if name.endswith("/data.pkl") else source.read(name))
        return stream.getvalue()

    return make


def _tar(content: dict[str, Any]) -> bytes:
    stream, pickled = io.BytesIO(), pickle.dumps(Code(os.system, "touch appeared"))
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(pickled)
            archive.addfile(member, io.BytesIO(pickled))
    return stream.getvalue()


FILES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "code": _with_code(os.system, "touch appeared"),
    "code in an old file": _with_code(os.system, "touch appeared", old=True),
    "code of stmask": _with_code(stmask.files.write_json, "appeared", 1),
    "code that imports": _with_code(__import__, "antigravity"),
    "code of torch": _with_code(torch.load, "appeared"),
    "a walk in the pickle": _with_code(getattr, "text", "upper"),
    "a hundred billion bytes": _with_code(bytearray, 10**11),
    "a bare pickle": lambda content: pickle.dumps({**content, "hook": Code(os.system, "touch appeared")}),
    "an old bare pickle": lambda content: pickle.dumps(Code(os.system, "touch appeared"), protocol=0),
    "brackets": _pickle_of(b"\x80\x02" + b"]" * 5_000 + b"a" * 4_999 + b"."),
    "tuples": _pickle_of(b"\x80\x02)" + b"\x85" * 5_000 + b"."),
    "INST": _pickle_of(b"\x80\x02(S'touch appeared'\nios\nsystem\n."),
    "a number without end": _pickle_of(b"\x80\x02\x8b\xff\xff\xff\x7f."),
    "another member": _with_member("archive/code/hook.py", "open('appeared', 'w')"),
    "a member outside": _with_member("../appeared", "x"),
    "a member of another folder": _with_member("other/data.pkl", "x"),
    "packed members": _packed,
    "a zip of something else": lambda content: _with_member("x", "x")({}),
    "a tar": _tar,
    "a list": lambda content: _saved([content]),
    "a tensor": lambda content: _saved(torch.zeros(2)),
    "keys that are numbers": lambda content: _saved({1: content, 2: torch.zeros(2)}),
    "names that are numbers": lambda content: _saved({**content, "state_dict": {1: torch.zeros(2)}}),
}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A configuration of `stmask evaluate`; its output_root has one frame to predict on."""
    frames = tmp_path_factory.mktemp("frames")
    cv2.imwrite(str(frames / "0.png"), np.zeros((36, 64, 3), np.uint8))
    return compose("evaluate", ["checkpoint=x", "device=cpu", f"output_root={frames}"])


@pytest.fixture(scope="module")
def _everything_imported(
    base: dict[str, Any], network: STMask, evaluation: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file as it should be goes every road first: what it needs is imported then."""
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save(base, path)
    for name, road in ROADS.items():
        # there are no data, and it is not a file of the authors'; its network differs from theirs
        fails = {
            "evaluate": DataError,
            "tables": CheckpointError,
            **dict.fromkeys(("import", "export"), CheckpointError),
        }
        with pytest.raises(fails[name]) if name in fails else nullcontext():
            road(path, network, evaluation)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _everything_imported: None) -> Path:
    """Where the file lies, in a run's folder, and where whatever it does would be seen."""
    monkeypatch.setenv("STMASK_SECRET", SECRET)
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder / "best.ckpt"


def _refuses(path: Path, network: STMask, evaluation: Any, capsys: pytest.CaptureFixture[str]) -> str:
    size, modules = path.stat().st_size, set(sys.modules)
    for name, road in ROADS.items():
        with pytest.raises((CheckpointError, ConfigError)) as caught:
            road(path, network, evaluation)
        said = str(caught.value) + "".join(capsys.readouterr())
        assert SECRET not in said, name
        assert "Traceback" not in said, name
        assert len(said.splitlines()) == 1 or "exit status" in said, name
        assert len(said) < 2000, name
        assert [entry.name for entry in path.parent.iterdir()] == [path.name], name
        assert [entry.name for entry in path.parent.parent.iterdir()] == ["checkpoints"], name
        assert path.stat().st_size == size, name
    assert all(name.startswith("stmask.") or name == "encodings.cp437" for name in set(sys.modules) - modules)
    return said


@pytest.mark.parametrize("name", [*CARDS, *NETWORKS])
def test_a_card_is_data(
    name: str,
    base: dict[str, Any],
    network: STMask,
    evaluation: Any,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = base["state_dict"] if name in NETWORKS else {FIRST: base["state_dict"][FIRST]}
    content = {**base, "state_dict": dict(state), ENTRY: copy.deepcopy(base[ENTRY])}
    {**CARDS, **NETWORKS}[name](content)
    torch.save(content, place)
    said = _refuses(place, network, evaluation, capsys)
    assert name in NETWORKS or "another network" not in said


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_data(
    name: str,
    base: dict[str, Any],
    network: STMask,
    evaluation: Any,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place.write_bytes(FILES[name](base))
    _refuses(place, network, evaluation, capsys)
