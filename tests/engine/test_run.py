"""From composed configurations to files: fit, evaluate, predict, as a user types them."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
import torch
from engine.tiny import TINY

import stmask
from stmask.cli import main
from stmask.config import compose
from stmask.engine.checkpoint_callbacks import BestCheckpoint
from stmask.engine.train import train
from stmask.errors import CheckpointError
from stmask.runs.folder import RunFolder


def fit(dataset: Path, output: Path, *overrides: str) -> dict[str, float]:
    return train(compose("train", [*TINY, f"data.root={dataset}", f"output_dir={output}", *overrides]))


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    assert main(["train", *TINY, f"data.root={dataset}", f"output_dir={output}"]) == 0
    return output


def test_a_run_leaves_what_is_needed_to_use_and_repeat_it(run: Path) -> None:
    assert {"config.yaml", "metrics.csv", "summary.json", "checkpoints"} <= {path.name for path in run.iterdir()}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    logged = {name for row in rows(run) for name, value in row.items() if value}
    assert {"train/loss", "train/box", "train/shift_mask", "train/grad_norm", "train/skipped_steps"} <= logged
    assert {"valid/AP", "valid/AP50", "valid/AR10", "valid/explain/cost/wrong_class", "lr-AdamW"} <= logged
    assert "valid/AP" in json.loads((run / "summary.json").read_text())


def test_evaluate_writes_results_and_prints_the_figures(
    run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert (
        main(["evaluate", f"checkpoint={checkpoint}", f"output={tmp_path}", "model.detector.score_threshold=0.02"]) == 0
    )
    printed = capsys.readouterr().out
    for name in ("AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "star", "cross"):
        assert name in printed
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(len(entry["segmentations"]) == 4 for entry in results)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        main(["metric", str(dataset / "valid.json"), str(tmp_path / "results.json"), "--json", str(tmp_path / "m")])
        == 0
    )
    again = json.loads((tmp_path / "m").read_text())
    assert again["AP"] == figures["AP"]


def test_a_run_says_how_it_is_evaluated(run: Path, tmp_path: Path) -> None:
    told = [line.partition("evaluate it: ")[2] for line in (run / "train.log").read_text().splitlines()]
    command = shlex.split(next(filter(None, told)))
    assert command == ["stmask", "evaluate", f"checkpoint={run}"]
    assert main([*command[1:], f"output={tmp_path}"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert json.loads((tmp_path / "metrics.json").read_text())["AP"] == summary["valid/AP"]


def test_evaluate_goes_by_the_names_of_the_classes(
    run: Path, dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The dataset's categories in another order and with other ids, and a part of them."""
    document = json.loads((dataset / "valid.json").read_text())

    names = {category["id"]: category["name"] for category in document["categories"]}

    def found(*ids: int) -> tuple[list[tuple[str, float]], float | None]:
        """By the names of the classes: what `evaluate` writes for the categories with these ids, and AP."""
        categories = [{"id": 100 - i, "name": names[i]} for i in ids]
        annotations = [a | {"category_id": 100 - a["category_id"]} for a in document["annotations"]]
        annotations = [a for a in annotations if 100 - a["category_id"] in ids]
        (tmp_path / "set.json").write_text(
            json.dumps(document | {"categories": categories, "annotations": annotations})
        )
        paths = [f"data.valid_annotations={tmp_path / 'set.json'}", f"data.valid_frames={dataset}/valid/JPEGImages"]
        checkpoint = f"checkpoint={run / 'checkpoints' / 'last.ckpt'}"
        output = [f"output={tmp_path}", "model.detector.score_threshold=0.02"]
        assert main(["evaluate", checkpoint, *paths, *output]) == 0
        entries = json.loads((tmp_path / "results.json").read_text())
        ap = json.loads((tmp_path / "metrics.json").read_text()).get("AP")
        return sorted((names[100 - entry["category_id"]], entry["score"]) for entry in entries), ap

    in_order, reversed_ = found(*names), found(*reversed(names))
    assert in_order == reversed_
    assert len({name for name, _ in in_order[0]}) > 1
    capfd.readouterr()
    part = set(list(names)[3:])
    assert found(*part)[0] == [entry for entry in in_order[0] if entry[0] in {names[i] for i in part}]
    assert f"so left out: {', '.join(name for i, name in names.items() if i not in part)}" in capfd.readouterr().out


def test_predict_draws_a_folder_of_frames(run: Path, dataset: Path, tmp_path: Path) -> None:
    source = next((dataset / "valid" / "JPEGImages").iterdir())
    video = tmp_path / "out.mp4"
    assert main(["predict", str(source), f"checkpoint={run / 'checkpoints' / 'last.ckpt'}", f"output={video}"]) == 0
    assert video.stat().st_size > 0
    assert isinstance(json.loads(video.with_suffix(".json").read_text()), list)


def test_the_loaded_model_segments(run: Path) -> None:
    model = stmask.load(run / "checkpoints" / "best.ckpt")
    assert not model.training
    assert model.card.preprocessor.padded_size == (64, 96)
    segmenter = stmask.VideoSegmenter(model)
    assert segmenter.preprocessor == model.card.preprocessor
    assert segmenter.class_names == model.card.class_names
    frame = (torch.rand(50, 70, 3) * 255).to(torch.uint8).numpy()
    first = segmenter.step(frame)
    segmenter.reset()
    again = segmenter.step(frame)
    assert torch.equal(first.instances.scores, again.instances.scores)


def test_same_seed_same_run(run: Path, dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == (run / "metrics.csv").read_text()
    first, second = weights(run), weights(tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_another_run(run: Path, dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path, "seed=1", "data.valid=null")
    first, second = weights(run), weights(tmp_path)
    assert not torch.equal(first["model.head.tower.0.weight"], second["model.head.tower.0.weight"])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(run: Path, dataset: Path, tmp_path: Path) -> None:
    """The schedule is that of the whole run, so only the steps differ."""
    fit(dataset, tmp_path, "trainer.max_steps=2", "scheduler.total_steps=4")
    fit(dataset, tmp_path, "resume=auto")
    whole, resumed = weights(run), weights(tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_training_starts_from_the_weights_of_another_run(run: Path, dataset: Path, tmp_path: Path) -> None:
    checkpoint = run / "checkpoints" / "last.ckpt"
    fit(dataset, tmp_path, f"init_from={checkpoint}", "optimizer.lr=0", "data.valid=null", "optimizer.weight_decay=0")
    before, after = weights(run), weights(tmp_path)
    name = "model.head.tower.0.weight"
    assert torch.equal(before[name], after[name])
    assert f"{len(before)} tensors taken, 0 fresh" in (tmp_path / "init_from.txt").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loops", "x"),
        ("optimizer_states", [1]),
        ("global_step", "3"),
    ],
)
def test_a_state_that_cannot_be_taken_up_is_one_line(
    run: Path, dataset: Path, tmp_path: Path, name: str, value: object
) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, name: value}, tmp_path / "bad.ckpt")
    with pytest.raises(
        CheckpointError, match=r"bad\.ckpt (holds no state that this training|says that it was written in)"
    ):
        fit(dataset, tmp_path / "run", f"resume={tmp_path / 'bad.ckpt'}")


def test_a_checkpoint_names_no_file_to_be_removed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    best = BestCheckpoint(RunFolder(tmp_path), monitor="valid/AP")
    callbacks = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    state = next(value for name, value in callbacks.items() if name.startswith("BestCheckpoint"))
    wanted = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), "..")
    best.load_state_dict({**state, **wanted, "best_k_models": {"..": torch.tensor(0.1), "/": torch.tensor(0.2)}})
    file = str(tmp_path / "checkpoints" / "best.ckpt")
    assert (best.best_model_path, best.kth_best_model_path, list(best.best_k_models)) == (file, file, [file])
