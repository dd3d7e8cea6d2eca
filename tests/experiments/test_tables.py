"""Run folders in, tables out."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from experiments.made_runs import CPU, TINY, write_run, write_sweep

from stmask.cli import main
from stmask.experiments.collect import collect
from stmask.experiments.comparison import Comparison, Section, Spread, compare
from stmask.experiments.report import table_markdown
from stmask.experiments.rows import BESIDES, rows, tables
from stmask.experiments.settings import Setting, configuration_of


def compared(table: str, *folders: Path) -> Comparison:
    return compare(table, rows(table), collect(folders)[0])


def section(comparison: Comparison, *overrides: str) -> Section:
    (found,) = (section for section in comparison.sections if section.setting == Setting.of(overrides))
    return found


def aps(section: Section) -> dict[str, list[float]]:
    return {r.row.name: [round(v, 6) for v in r.metric("AP").values] for r in section.rows if r.runs}


# --- settings


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["experiment=table4/t4_fca", "seed=2", "output_root=/x", "name=n", "tags=[a]", "resume=auto"], ""),
        (["logger=wandb", "logger.wandb.mode=online", "hydra/launcher=slurm", "hydra.launcher.x=1", "search=lr"], ""),
        (["data.num_workers=0", "data.prefetch=2", "trainer.enable_progress_bar=false"], ""),
        (["recipe=tiny", "data.root=/a/b/ytvis_2019/"], "data.root=ytvis_2019 recipe=tiny"),
        (["data.root='/a/my videos'", "+data.x=1"], "+data.x=1 data.root='my videos'"),
        (["trainer.max_steps=3", "recipe=tiny", "trainer.max_steps=5"], "recipe=tiny trainer.max_steps=5"),
        (["model/head/align=ada", "~model.temporal"], "model/head/align=ada ~model.temporal"),
        (["init_from=/weights/yolact_54.pth"], "init_from=yolact_54.pth"),
        (["model.head.kernels=[[3,3],[3,5]]"], "model.head.kernels=[[3,3],[3,5]]"),
    ],
)
def test_a_setting_is_what_was_overridden_without_places(overrides: list[str], setting: str) -> None:
    assert " ".join(Setting.of(overrides).overrides) == setting


@pytest.mark.parametrize(
    ("overrides", "like"),
    [
        ([], True),
        (["recipe=release", "data.root=/data/YouTube-VIS_2019", "init_from=coco.pth", "trainer.devices=4"], True),
        (["data=ytvis2019", "trainer.precision=bf16-mixed", "trainer=ddp", "total_batch=16"], True),
        (["recipe=tiny"], False),
        (["data=ytvis2021"], False),
        (["data.root=/data/synthetic"], False),
        (["trainer.max_steps=1000"], False),
        (["model.channels=64"], False),
    ],
)
def test_the_paper_is_comparable_where_dataset_and_recipe_are_its_own(overrides: list[str], like: bool) -> None:
    assert Setting.of(overrides).like_the_paper is like


def test_a_configuration_is_the_same_wherever_its_data_lie_and_whatever_its_seed() -> None:
    def configuration(root: str, seed: int, lr: float = 0.1) -> str:
        mix = [{"root": f"{root}/coco", "weight": 0.5}]
        data = {"root": f"{root}/videos", "mix": mix, "seed": seed}
        return configuration_of({"seed": seed, "output_dir": root, "data": data, "optimizer": {"lr": lr}})

    assert configuration("/a", 0) == configuration("/b/c", 1)
    assert configuration("/a", 0) != configuration("/a", 0, lr=0.2)


# --- which run counts


def test_seeds_of_a_row_are_averaged_and_rows_of_one_network_share_them(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"table1/t1_3x5": [0.20, 0.24], "table4/t4_fca_ada": [0.3]})
    tiny = section(compared("table4", tmp_path), *TINY)
    assert aps(tiny) == {"t4_fca": [20.0, 24.0], "t4_fca_ada": [30.0]}
    fca = tiny.rows[1]
    assert (fca.seeds, fca.metric("AP").mean) == ((0, 1), pytest.approx(22.0))
    assert fca.metric("AP").std == pytest.approx(8**0.5)  # of the sample
    assert fca.difference("AP") == pytest.approx(22.0 - 30.8)
    assert fca.metric("APL") == Spread()  # undefined in the metric
    assert aps(section(compared("table1", tmp_path), *TINY)) == {"t1_3x5": [20.0, 24.0]}
    assert not section(compared("table4", tmp_path)).measured_rows  # nothing under the rows' own setting


def test_rows_that_a_setting_makes_one_network_share_their_runs(tmp_path: Path) -> None:
    overrides = [*TINY, "model/temporal=none", "optimizer.lr=0.1"]
    write_run(tmp_path / "a", "table4/t4_fca_ada", overrides=overrides, ap=0.3)
    assert aps(section(compared("table4", tmp_path), *overrides)) == {"t4_fca_ada": [30.0], "t4_fca_ada_tf": [30.0]}


def test_settings_are_never_mixed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ap=0.1)
    write_run(tmp_path / "b", ap=0.2, overrides=["recipe=tiny", "data.root=/other/dataset"], seed=1)
    write_run(tmp_path / "c", ap=0.3, overrides=[], seed=2)
    write_run(tmp_path / "d", ap=0.4, overrides=[*TINY, "trainer.max_steps=7"], seed=3)
    sections = compared("table4", tmp_path).sections
    assert [str(s.setting) for s in sections] == [
        "as configured",
        "data.root=dataset recipe=tiny",
        "data.root=synthetic recipe=tiny",
        "data.root=synthetic recipe=tiny trainer.max_steps=7",
    ]
    assert [aps(s) for s in sections] == [{"t4_fca": [v]} for v in (30.0, 20.0, 10.0, 40.0)]


def test_a_dataset_may_lie_elsewhere_on_another_machine(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, ap=0.1)
    write_run(
        tmp_path / "b", seed=1, ap=0.2, overrides=["recipe=tiny", "data.root=/mnt/disk/synthetic", "logger=wandb"]
    )
    assert aps(section(compared("table4", tmp_path), *TINY)) == {"t4_fca": [10.0, 20.0]}


def test_the_newest_run_of_a_seed_counts_and_the_other_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "new", ap=0.3, finished="2026-01-02T10:00:00+00:00")
    write_run(tmp_path / "old", ap=0.2, finished="2026-01-01T10:00:00+00:00")
    write_run(tmp_path / "newest", ap=0.9, finished="2026-01-03T10:00:00+00:00", state="failed")
    tiny = section(compared("table4", tmp_path), *TINY)
    assert aps(tiny) == {"t4_fca": [30.0]}
    where = tmp_path.name
    assert tiny.notes == (
        f"Seed 0 was run more than once: `{where}/new` counts, `{where}/old` is older.",
        "Not finished, and not counted: 1 failed.",
    )


def test_runs_of_a_row_as_it_was_before_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ap=0.1, seed=1, finished="2026-01-02T10:00:00+00:00")
    earlier = write_run(tmp_path / "b", ap=0.9, seed=0)
    text = (earlier / "config.yaml").read_text()
    assert "lr: 0.001" in text
    (earlier / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.5"))
    tiny = section(compared("table4", tmp_path), *TINY)
    assert aps(tiny) == {"t4_fca": [10.0]}
    assert "another configuration" in tiny.notes[0]
    assert "b`" in tiny.notes[0]


def test_unfinished_runs_do_not_count_and_are_named(tmp_path: Path) -> None:
    for number, state in enumerate(("failed", "failed", "interrupted", "running")):  # nobody holds the last one's lock
        write_run(tmp_path / str(number), state=state, seed=number)
    tiny = section(compared("table4", tmp_path), *TINY)
    assert not tiny.measured_rows
    assert tiny.notes == ("Not finished, and not counted: 1 cut off, 2 failed, 1 interrupted.",)


def test_speeds_of_one_kind_of_machine_are_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, fps=30.0)
    write_run(tmp_path / "b", seed=1, fps=31.0)
    write_run(tmp_path / "c", seed=2, fps=99.0, conditions=replace(CPU, device="another"))
    tiny = section(compared("table4", tmp_path), *TINY)
    assert tiny.rows[1].fps.values == pytest.approx((30.0, 31.0))
    assert tiny.notes == ("The FPS of 1 run was measured under other conditions, and left out.",)


def test_other_runs_are_passed_over_and_broken_ones_are_named(tmp_path: Path) -> None:
    own = write_run(tmp_path / "own")
    made = json.loads((own / "run.json").read_text())
    (own / "run.json").write_text(json.dumps({**made, "experiment": None}))
    (write_run(tmp_path / "broken", seed=1) / "summary.json").write_text("{")
    (write_run(tmp_path / "gone", seed=2) / "config.yaml").unlink()
    (write_run(tmp_path / "odd", seed=3) / "run.json").write_text("[]")
    (write_run(tmp_path / "speed", seed=4) / "fps.json").write_text("{}")
    records, problems = collect([tmp_path])
    assert records == []
    assert len(problems) == 4
    assert all(name in line for name, line in zip(("broken", "gone", "odd", "speed"), problems, strict=True))


def test_a_folder_of_someone_else_is_data(tmp_path: Path) -> None:
    """Each file in turn holds what no run writes: it is named, or says nothing; the tables are made all the same."""
    run = write_run(tmp_path / "run", fps=10.0)
    texts = {name: (run / name).read_text() for name in ("run.json", "status.json", "summary.json", "fps.json")}
    huge = 10**400
    changes: list[tuple[str, dict[str, Any], int]] = [
        ("status.json", {"state": ["done"]}, 0),
        ("status.json", {"finished": 5}, 0),
        ("run.json", {"parameters": float("inf")}, 1),
        ("run.json", {"parameters": -1}, 1),
        ("run.json", {"experiment": "x" * 5000}, 0),
        ("summary.json", {"valid/AP": huge}, 1),
        ("summary.json", {"train_seconds": huge}, 1),
        ("summary.json", {"train_seconds": float("inf")}, 1),
        *(("fps.json", {"milliseconds": value}, 1) for value in (0, -1, "1", huge, float("nan"))),
        ("fps.json", {"conditions": {"device": [], "precision": "float32", "threads": 1, "torch": "2"}}, 1),
    ]
    for file, change, problems in changes:
        (run / file).write_text(json.dumps({**json.loads(texts[file]), **change}))
        records, said = collect([tmp_path])
        assert len(said) == problems, (file, change)
        assert all(file in line or str(run) in line for line in said)
        compare("table4", rows("table4"), records)
        (run / file).write_text(texts[file])
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    assert collect([tmp_path]) == ([], [f"cannot read {run / 'config.yaml'}: it is not a file"])


def test_a_folder_given_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "sweeps" / "a")
    assert len(collect([tmp_path, tmp_path / "sweeps", tmp_path / "sweeps" / "a"])[0]) == 1


# --- the files


def test_the_command_writes_the_same_bytes_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, output = tmp_path / "runs", tmp_path / "out"
    write_sweep(runs, {"table4/t4_baseline": [0.1, 0.2, 0.3], "table4/t4_fca": [0.25]})
    command = ["tables", "table4", "--runs", str(runs), "--output", str(output)]
    assert main(command) == 0
    assert "data.root=synthetic recipe=tiny: 2 of 6 rows measured, 4 runs" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in (output / "table4").iterdir()}
    assert set(first) == {"results.csv", "table.md"}
    moved = shutil.move(runs, tmp_path / "elsewhere" / "runs")
    assert main([*command[:3], str(moved), *command[4:]]) == 0
    assert {path.name: path.read_bytes() for path in (output / "table4").iterdir()} == first
    lines = list(csv.DictReader(first["results.csv"].decode().splitlines()))
    assert len(lines) == 12  # six rows as configured, six under the sweep's setting
    expected: dict[str, Any] = {
        "row": "t4_baseline", "setting": "data.root=synthetic recipe=tiny", "like_the_paper": "no", "n": "3",
        "seeds": "0 1 2", "AP_paper": "28.9", "AP": "20.0", "AP_std": "10.0", "AP_difference": "-8.9", "AP50": "30.0",
        "FPS_paper": "31.2", "FPS": "40.3", "FPS_std": "0.3", "train_seconds": "3901.0", "parameters": "1234567",
        "dataset": "synthetic, split valid",
    }  # fmt: skip
    assert {key: lines[6][key] for key in expected} == expected
    assert (lines[7]["n"], lines[7]["AP"], lines[7]["AP_std"]) == ("1", "25.0", "")
    assert (lines[8]["n"], lines[8]["AP"], lines[8]["AP_paper"]) == ("0", "", "34.4")


def test_the_table_reads_well(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"table4/t4_baseline": [0.1, 0.2], "table4/t4_fca": [0.25]})
    text = table_markdown(compared("table4", tmp_path))
    parts = text.split("## Setting: ")
    assert "No finished run." in parts[1]
    assert "| `t4_fca_ada_tf` |      36.8 |  missing |" in parts[1]
    assert "Another dataset or recipe than the paper's" in parts[2]
    assert "Another dataset" not in parts[1]
    assert "| `t4_baseline`   |      28.9 | 15.0 ± 7.1 |      -13.9 | 2 |" in parts[2].replace("   2 |", " 2 |")
    assert "22.5 ± 10.6 (45.8)" in parts[2]
    assert "FPS, ours: a processor, float32, 2 threads, torch 2.11.0." in parts[2]
    assert "1.2 M" in parts[2]
    assert "1:05:00" in parts[2]


def test_image_networks_have_masks_and_boxes(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "coco/r50dcn_fca", overrides=["data.root=/data/coco"], ap=0.3, box_AP=0.35)
    comparison = compared("coco", tmp_path)
    own = section(comparison, "data.root=/data/coco")
    assert own.setting.like_the_paper
    fca = next(result for result in own.rows if result.row.name == "r50dcn_fca")
    assert comparison.metrics == ("AP", "box_AP")
    assert fca.row.paper == {"AP": 32.9, "box_AP": 34.5}
    assert fca.metric("box_AP").mean == pytest.approx(35.0)
    assert "on COCO at 550 x 550" in table_markdown(comparison)


def test_without_runs_every_row_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tables"]) == 0
    written = sorted(path.parent.name for path in (tmp_path / "experiments").rglob("results.csv"))
    assert written == ["coco", "fcb", "quirks", "table1", "table2", "table3", "table4", "table5", "table6"]
    for path in (tmp_path / "experiments").rglob("results.csv"):
        assert {line["n"] for line in csv.DictReader(path.read_text().splitlines())} == {"0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel4"], "did you mean 'table4'?"),
        (["table4", "--runs", "nowhere"], "no such folder of runs: nowhere"),
        (["table4", "--wandb", "project"], "--wandb takes ENTITY/PROJECT, got 'project'"),
        (["table4", "--fpss"], "see stmask tables --help"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tables", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("table", [*tables(), *BESIDES])
def test_every_table_has_its_folder(table: str) -> None:
    folder = Path(__file__).parents[2] / "experiments" / table
    text = (folder / "README.md").read_text()
    assert f"stmask tables {table}" in text
    lines = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [line["row"] for line in lines if line["setting"] == "as configured"] == [row.name for row in rows(table)]
    assert (folder / "table.md").read_text().startswith(f"# {table}: ")
