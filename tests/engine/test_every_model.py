"""What the rest needs of a model is in its contract alone: whatever is done with one model is done with all of them.

A new file in conf/model is tried by itself; it stands in `EXPORTED` besides if its network offers its stages.
"""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.forked import jobs_forked
from engine.offline_wandb import read_offline
from engine.runs import content, same
from engine.tiny import MODELS, SMALL

import stmask.commands.train
from stmask.benchmarks.inference import STAGES, Contender
from stmask.benchmarks.worker import Turns
from stmask.checkpoints import build_model
from stmask.cli import main
from stmask.config import compose, plain
from stmask.engine.train import train
from stmask.experiments.jobs import read_job
from stmask.runs.folder import status_of
from stmask.structures.clip import Clip, empty_targets

EXPORTED = {"stmask", "yolact"}
each_model = pytest.mark.parametrize("model", MODELS, scope="module")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("every_model")


@pytest.fixture(scope="module")
def surroundings(place: Path) -> Any:
    """One thread, and W&B keeps what waits for its upload here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(place / "wandb"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def run(model: str, dataset: Path, place: Path, surroundings: None) -> Path:
    """A run of two epochs of two steps, with all that a run may have."""
    folder = place / model
    logged = ["logger=wandb", "logger.wandb.mode=offline", "records.min_score=0"]
    train(compose("train", [*words(model, dataset), *logged, "trainer.max_steps=4", f"output_dir={folder}"]))
    return folder


@pytest.fixture(scope="module")
def swept(dataset: Path, place: Path, surroundings: None) -> dict[str, Path]:
    """The run of each model in a sweep over all of them, whose jobs are of two processes."""
    root = place / "swept"
    common = [*SMALL, "trainer.strategy=ddp", "trainer.devices=2", "trainer.max_steps=2", "data.batch_size=1"]
    probe = "+callbacks.probe._target_=engine.probes.Probe", "+callbacks.probe.folder=${output_dir}"
    with jobs_forked():
        stmask.commands.train.main(
            ["-m", f"model={','.join(MODELS)}", *common, *probe, f"data.root={dataset}", f"output_root={root}"]
        )
    folders = [path.parent for path in root.glob("sweeps/*/seed_0/job.json")]
    return {read_job(folder)[1].overrides[0].partition("=")[2]: folder for folder in folders}


def words(model: str, dataset: Path, *more: str) -> list[str]:
    return [f"model={model}", *SMALL, f"data.root={dataset}", *more]


def checkpoint(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


@each_model
def test_a_run_that_stopped_goes_on_to_the_same_weights_and_averages(run: Path, model: str, dataset: Path) -> None:
    parts = run.with_name(f"{model}_in_parts")
    for more in (["trainer.max_steps=2"], ["trainer.max_steps=4", "resume=auto"]):
        train(compose("train", words(model, dataset, *more, f"output_dir={parts}")))
    whole, resumed = content(run), content(parts)
    for part in ("state_dict", "ema", "optimizer_states"):
        assert same(whole[part], resumed[part]), part
    assert not same(whole["ema"]["trained"], whole["state_dict"])


@each_model
def test_its_validations_are_recorded_and_logged(run: Path, model: str) -> None:
    record = run / "validation" / "step_00000004"
    expected = {"figures.json", "classes.csv", "results.json", "clips.png", "clip.mp4", "videos.csv"}
    assert {path.name for path in record.iterdir()} == expected
    figures = json.loads((record / "figures.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    found = read_offline(run)
    assert found.exit_code == 0
    assert found.history("valid/AP")[-1] == pytest.approx(figures["valid/AP"])
    assert summary["valid/AP"] == max(found.history("valid/AP"))
    assert len(found.history("validation/film.path")) == len(found.history("validation/classes.path")) == 2
    assert len(found.history("train/loss")) == 4
    assert all(map(math.isfinite, found.history("train/loss")))
    assert "model" in {artifact.kind for artifact in found.artifacts}


@each_model
def test_it_is_evaluated_to_what_its_validation_said(run: Path, dataset: Path, tmp_path: Path) -> None:
    said = ["evaluate", f"checkpoint={checkpoint(run)}", f"data.root={dataset}", "device=cpu", f"output={tmp_path}"]
    assert main(said) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["AP"] == json.loads((run / "validation" / "step_00000004" / "figures.json").read_text())["valid/AP"]


@each_model
def test_it_predicts(run: Path, dataset: Path, tmp_path: Path) -> None:
    film = next((dataset / "valid" / "JPEGImages").iterdir())
    everything = ["model.detector.score_threshold=0", "min_score=0"]  # nothing is certain after so few steps
    said = ["predict", str(film), f"checkpoint={checkpoint(run)}", "device=cpu", *everything]
    assert main([*said, f"output={tmp_path / 'film.mp4'}"]) == 0
    assert (tmp_path / "film.mp4").stat().st_size > 0
    assert main([*said, "format=json", f"output={tmp_path / 'found.json'}"]) == 0
    tracks = json.loads((tmp_path / "found.json").read_text())
    assert tracks
    # the baseline that looks at masks alone
    assert main([*said, "format=json", "model/tracker=iou", f"output={tmp_path / 'iou.json'}"]) == 0


@each_model
def test_it_is_timed(run: Path, dataset: Path) -> None:
    film = next((dataset / "valid" / "JPEGImages").iterdir())
    contender = Contender(
        checkpoint=str(checkpoint(run)),
        device="cpu",
        precision="float32",
        frames_from=str(film),
        validated_by="",
        frames=2,
    )
    turns = Turns(io.StringIO("2\n0\n"), io.StringIO())
    outcome = contender.serve(turns)
    for sample in turns.samples:
        assert set(sample.stages) >= STAGES.keys() - {"network in tracking"}
    assert outcome.work.flops is not None


@each_model
def test_it_is_exported_or_that_is_refused_in_a_line(
    run: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.pt2"
    status = main(["export", str(run), str(out)])
    if model in EXPORTED:
        assert status == 0
        assert out.stat().st_size > 0
    else:
        assert status == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "can't be exported: it has no method `stages`" in line
        assert line.endswith("of stmask's own models STMask and Yolact have one")
        assert not list(tmp_path.iterdir())


@each_model
def test_two_processes_of_a_sweep_train_it_together(swept: dict[str, Path], model: str) -> None:
    assert swept.keys() == set(MODELS)
    folder = swept[model]
    assert status_of(folder).state == "done"
    assert "valid/AP" in json.loads((folder / "summary.json").read_text())
    first, second = ((folder / f"rank_{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert first.startswith("2 ")


@each_model
def test_frames_in_which_nothing_is_annotated_have_a_gradient_for_every_weight(model: str) -> None:
    """Distributed training wants that."""
    torch.manual_seed(0)
    built = build_model(plain(compose("train", [f"model={model}", *SMALL]).model), num_classes=3)
    nothing = empty_targets(64, 96)
    clip = Clip(
        frames=torch.randn(2, 2, 3, 64, 96),
        image_sizes=torch.tensor([64, 96]).expand(2, 2, 2),
        targets=((nothing, nothing),) * 2,
        video_ids=torch.zeros(2, dtype=torch.int64),
        frame_indices=torch.zeros(2, 2, dtype=torch.int64),
    )
    report = built.train().losses(clip, generator=torch.Generator().manual_seed(0))
    report.total.backward()  # type: ignore[no-untyped-call]
    lacking = [n for n, value in built.named_parameters() if value.requires_grad and value.grad is None]
    assert lacking == []
    assert all(value.grad.isfinite().all() for value in built.parameters() if value.grad is not None)
