"""Exported files: written, run, evaluated; refused where they are broken, foreign or missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import stmask
from stmask import exports
from stmask.checkpoints import save_model
from stmask.cli import main
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.errors import CheckpointError, ConfigError, OutputError
from stmask.exports import _stages
from stmask.models import VideoModel

FORMAT1 = Path(__file__).parent / "checkpoints" / "data" / "format1.ckpt"  # with FCB and temporal fusion
CLASSES = ("disc", "square")
STAGES = ("", ".branches", ".temporal")
PACKAGES = {".onnx": ("onnx", "onnxruntime", "onnxscript"), ".xml": ("onnx", "onnxruntime", "onnxscript", "openvino")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the classes of the data that it is evaluated on."""
    model = stmask.load(FORMAT1)
    path = tmp_path_factory.mktemp("checkpoint") / "net.ckpt"
    save_model(path, model, replace(model.card, class_names=CLASSES))
    return path


@pytest.fixture(scope="module")
def onnx(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in PACKAGES[".onnx"]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("onnx") / "net.onnx"
    assert main(["export", str(checkpoint), str(out)]) == 0
    return out


@pytest.fixture(scope="module", params=PACKAGES)
def exported(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == ".onnx":
        path: Path = request.getfixturevalue("onnx")
        return path
    for package in PACKAGES[request.param]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("exported") / f"net{request.param}"
    assert main(["export", str(checkpoint), str(out)]) == 0
    return out


@pytest.fixture
def copied(onnx: Path, tmp_path: Path) -> Path:
    """The files of an export, to be damaged."""
    for path in onnx.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / onnx.name


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames in which patterns move."""
    folder = tmp_path_factory.mktemp("film")
    pattern = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    for index in range(6):
        frame = cv2.resize(np.roll(pattern, index, axis=1), (80, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    return folder


def predicted(checkpoint: Path, film: Path, out: Path, *overrides: str) -> list[dict[str, Any]]:
    words = [
        "predict",
        str(film),
        f"checkpoint={checkpoint}",
        "format=json",
        "min_score=0",
        f"output={out}",
        "device=cpu",
        *overrides,
    ]
    assert main(words) == 0
    return json.loads(out.read_text())


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Tracks with the same masks to the bit, and scores to rounding."""
    scores = [[track.pop("score") for track in tracks] for tracks in (found, wanted)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert found == wanted


def test_it_predicts_the_tracks_of_the_checkpoint(exported: Path, film: Path, tmp_path: Path) -> None:
    wanted = predicted(FORMAT1, film, tmp_path / "a.json")
    assert len(wanted) > 3
    assert_same(predicted(exported, film, tmp_path / "b.json"), wanted)


def test_signals_are_heard_when_a_model_is_gone(exported: Path) -> None:
    """What OpenVINO sets up for signals would be freed with the model: in a process of its own, which would end."""
    code = (
        "import gc, os, signal, sys, stmask\n"
        "model = stmask.load(sys.argv[1])\n"
        "del model\n"
        "gc.collect()\n"
        "heard = []\n"
        "signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "print('heard', len(heard))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=False)
    assert done.stdout == "heard 1\n", done.stderr


def test_detector_and_tracker_can_be_changed(onnx: Path, film: Path, tmp_path: Path) -> None:
    changes = ["model/tracker=iou", "model.detector.score_threshold=0.3"]
    wanted = predicted(FORMAT1, film, tmp_path / "a.json", *changes)
    assert wanted != predicted(FORMAT1, film, tmp_path / "c.json")
    assert_same(predicted(onnx, film, tmp_path / "b.json", *changes), wanted)


def test_it_evaluates_as_the_checkpoint(checkpoint: Path, onnx: Path, tmp_path: Path) -> None:
    config = SyntheticConfig.preset("easy", height=48, width=80, frames=3, classes=CLASSES)
    data = write_dataset(tmp_path / "data", config, videos=1, valid_videos=2)
    results = []
    for network in (checkpoint, onnx):
        out = tmp_path / network.suffix[1:]
        words = [f"checkpoint={network}", "data=synthetic", f"data.root={data}", f"output={out}", "device=cpu"]
        assert main(["evaluate", *words, "data.num_workers=0"]) == 0
        results.append(json.loads((out / "results.json").read_text()))
    assert len(results[0]) > 0
    assert_same(*results)


def test_a_batch_of_any_size(exported: Path) -> None:
    ours, theirs = stmask.load(FORMAT1), stmask.load(exported)
    frames = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for a, b in zip(ours.detect(frames), theirs.detect(frames), strict=True):
            torch.testing.assert_close(a.instances.boxes, b.instances.boxes, atol=1e-4, rtol=1e-4)


def test_deformable_convolution_is_an_operator_of_its_own(onnx: Path) -> None:
    import onnx as package

    graph = package.load(onnx)
    assert "DeformConv" in {node.op_type for node in graph.graph.node}
    assert graph.opset_import[0].version >= 19


@pytest.mark.parametrize("stage", STAGES)
def test_a_truncated_file(copied: Path, stage: str) -> None:
    damaged = copied.with_name(f"net{stage}.onnx")
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=rf"net{stage}\.onnx is truncated or not an ONNX file"):
        stmask.load(copied)


def test_a_stage_is_missing(copied: Path) -> None:
    copied.with_name("net.temporal.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"net\.onnx needs net\.temporal\.onnx beside it"):
        stmask.load(copied)


def with_metadata(path: Path, **values: str | None) -> None:
    import onnx as package

    model = package.load(path)
    entries = {prop.key: prop.value for prop in model.metadata_props} | values
    package.helper.set_model_props(model, {key: value for key, value in entries.items() if value is not None})
    package.save(model, path)


def test_a_stage_of_another_export(copied: Path) -> None:
    with_metadata(copied.with_name("net.temporal.onnx"), stmask='{"export": "0"}')
    with pytest.raises(CheckpointError, match=r"net\.temporal\.onnx is of another export than"):
        stmask.load(copied)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "was not written by `stmask export`"),
        ("{", "is damaged: what it says about its model is not valid JSON"),
        ("[1]", "is damaged: it says"),
        ('{"export": "a", "stages": ["../net"]}', "names stages that no export has"),
        ('{"export": "a", "format": 99}', "use a newer stmask"),
        ('{"export": "a", "format": 2, "card": {}}', "unusable description of its network: card.model is missing"),
    ],
)
def test_a_file_of_somebody_else(copied: Path, entry: str | None, message: str) -> None:
    with_metadata(copied, stmask=entry)
    with pytest.raises(CheckpointError, match=message):
        stmask.load(copied)


def changed_card(path: Path, **changes: Any) -> None:
    import onnx as package

    (entry,) = (json.loads(prop.value) for prop in package.load(path).metadata_props if prop.key == "stmask")
    entry["card"] = entry["card"] | changes
    with_metadata(path, stmask=json.dumps(entry))


def test_a_card_is_data(copied: Path) -> None:
    model = stmask.load(FORMAT1).card.model
    changed_card(copied, model={**model, "detector": {"_target_": "os.system", "command": "touch appeared"}})
    with pytest.raises(CheckpointError, match=r"os\.system"):
        stmask.load(copied)


def test_a_card_of_another_size(copied: Path) -> None:
    frames = stmask.load(FORMAT1).card.to_dict()["preprocessor"]
    changed_card(copied, preprocessor={**frames, "height": 128})
    with pytest.raises(CheckpointError, match=r"takes frames .*64, 96.* its card says frames of \(3, 128, 96\)"):
        stmask.load(copied)


def test_frames_of_another_size(onnx: Path) -> None:
    with pytest.raises(CheckpointError, match=r"net\.onnx can't be run"):
        stmask.load(onnx).detect(torch.zeros(1, 3, 96, 96))


def test_what_is_fixed_in_the_files_stays(onnx: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.head is fixed in .*net\.onnx"):
        stmask.load(onnx, model={"head": {"centerness": False}})
    with pytest.raises(ConfigError, match="run on the CPU in float32"):
        stmask.load_segmenter(onnx, autocast=torch.bfloat16)
    with pytest.raises(ConfigError, match="run on the CPU in float32"):
        stmask.load_segmenter(onnx, device="cuda")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("net.onnx", "onnxruntime", "export"), ("net.onnx", "onnxscript", "export"), ("net.xml", "openvino", "openvino")],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str,
    package: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / name
    assert main(["export", str(FORMAT1), str(out)]) == 2
    assert f"needs {package}, which is not installed: pip install 'stmask[{extra}]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    if package != "onnxscript":
        out.touch()
        with pytest.raises(ConfigError, match=rf"{out.name} needs {package}, .*stmask\[{extra}\]"):
            stmask.load(out)


def test_an_ending_that_says_no_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(FORMAT1), str(tmp_path / "net.tflite")]) == 2
    assert (
        "one of .pth (official), .onnx (onnx), .xml (openvino), .pt2 (pt2); or give --format" in capsys.readouterr().err
    )
    assert main(["export", str(FORMAT1), str(tmp_path / "net.bin"), "--format", "onnx"]) == 2
    assert "the file must end in .onnx" in capsys.readouterr().err


def test_a_file_that_disagrees_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stages, "TOLERANCE", -1.0)
    with pytest.raises(OutputError, match=r"net\.pt2, stage temporal: box_deltas differs from PyTorch's"):
        exports.export_format("pt2").write(stmask.load(FORMAT1), tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_stages(tmp_path: Path) -> None:
    class Stranger(VideoModel):
        pass

    with pytest.raises(ConfigError, match="a Stranger can't be exported: it has no method `stages`"):
        exports.export_format("pt2").write(Stranger(), tmp_path / "net.pt2")


def test_programs_of_torch_are_written_and_not_run(tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    assert main(["export", str(FORMAT1), str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"net{stage}.pt2" for stage in STAGES}
    card = {"stmask": ""}
    program = torch.export.load(out, extra_files=card).module()
    frames = torch.randn(3, 3, 64, 96)
    model = stmask.load(FORMAT1)
    with torch.no_grad():
        torch.testing.assert_close(program(frames)[0], model(frames).box_deltas, atol=1e-5, rtol=1e-5)
    assert json.loads(card["stmask"])["card"] == model.card.to_dict()
    with pytest.raises(CheckpointError, match=r"PyTorch runs code that such a file brings along"):
        stmask.load(out)
