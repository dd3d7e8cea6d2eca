from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from plots.test_run import write_run

from stmask.commands.report import main
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.files import read_json, write_json

HOSTILE = "<script>alert('class')</script>&\"\u202e"
NAMELESS = "</title><img src=x onerror=alert(1)>"
SECRET = "correct-horse-battery"


@dataclass(frozen=True)
class Made:
    """A dataset with a hostile class, results with most causes of errors, and a run that validated with them."""

    root: Path
    results: Path
    run: Path

    @property
    def truth(self) -> Path:
        return self.root / "valid.json"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("report")
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4, objects=(2, 2), leaving=0)
    root = write_dataset(folder / "data", config, videos=1, valid_videos=4)
    truth = read_json(root / "valid.json")
    for category in truth["categories"]:
        category["name"] = f"{HOSTILE}{category['id']}"
    write_json(root / "valid.json", truth)
    write_json(folder / "results.json", faulty_results(truth))
    (folder / "videos.csv").write_text("video_id,seconds\n" + "".join(f"{i},0.{i}\n" for i in range(1, 5)))
    run = write_run(folder / "run")
    (run / "config.yaml").write_text(
        f"name: {json.dumps(NAMELESS)}\nseed: 7\nmonitor: valid/AP\nlogger:\n  api_key: {SECRET}\n"
        f"data:\n  root: {root}\n  valid: valid\n"
    )
    command = ["stmask", "train", f"logger.password={SECRET}", f"https://me:{SECRET}@example.org/x"]
    versions, machine = {"torch": "2.8", "wandb": None}, {"cpus": 2, "gpus": []}
    origin = {"command": command, "overrides": [], "versions": versions, "machine": machine}
    write_json(run / "run.json", origin)
    for step in (60, 120):
        (run / f"validation/step_{step:08d}/results.json").write_bytes((folder / "results.json").read_bytes())
    return Made(root, folder / "results.json", run)


def faulty_results(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the objects in order: found, of a wrong class, too short, two in one track, missed; one of them twice."""
    entries = []
    tracks, ids = truth["annotations"], [category["id"] for category in truth["categories"]]
    for index, track in enumerate(tracks):
        masks = list(track["segmentations"])
        beside = [one for one in tracks if one["video_id"] == track["video_id"] and one is not track] or [track]
        category = track["category_id"]
        kind = index % 5
        if kind == 1:
            category = ids[(ids.index(category) + 1) % len(ids)]
        elif kind == 2:
            masks[1:] = [None] * 3
        elif kind == 3:
            masks[2:] = beside[0]["segmentations"][2:]
        elif kind == 4:
            continue
        for score in (0.9, 0.5) if kind == 0 else (0.8,):
            entry = {"video_id": track["video_id"], "category_id": category, "score": score, "segmentations": masks}
            entries.append(entry)
    return entries


@pytest.fixture(scope="session")
def page(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the run."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert main([str(made.run), f"output={output}", "clips=2"]) == 0
    return output
