"""What a run needs of a model is in its contract alone: all models train, stop, go on, are evaluated and predict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine.runs import content, same

from stmask.cli import main
from stmask.config import compose, conf_dir
from stmask.engine.train import train

MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
SMALL = [
    "recipe=tiny",
    "data.preprocessor.height=64",
    "data.preprocessor.width=96",
    "data.samples_per_epoch=4",
    "model.backbone.width=16",
    "model.channels=16",
    "scheduler=constant",
    "trainer.check_val_every_n_epoch=1",
    "trainer.enable_progress_bar=false",
]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_from_training_to_prediction(model: str, dataset: Path, tmp_path: Path) -> None:
    words = [f"model={model}", *SMALL, f"data.root={dataset}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(compose("train", [*words, "trainer.max_steps=4", f"output_dir={whole}"]))
    train(compose("train", [*words, "trainer.max_steps=2", f"output_dir={parts}"]))
    train(compose("train", [*words, "trainer.max_steps=4", f"output_dir={parts}", "resume=auto"]))
    assert same(content(whole)["state_dict"], content(parts)["state_dict"])
    assert "valid/AP" in json.loads((whole / "summary.json").read_text())

    checkpoint = f"checkpoint={whole / 'checkpoints' / 'last.ckpt'}"
    assert main(["evaluate", checkpoint, f"data.root={dataset}", "device=cpu", f"output={tmp_path / 'scores'}"]) == 0
    assert (tmp_path / "scores" / "metrics.json").exists()
    (film, *_) = sorted((dataset / "valid" / "JPEGImages").iterdir())
    assert main(["predict", str(film), checkpoint, "device=cpu", f"output={tmp_path / 'out.mp4'}"]) == 0
    assert (tmp_path / "out.mp4").stat().st_size > 0
