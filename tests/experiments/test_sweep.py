"""Sweeps whose jobs are real processes. A start takes seconds, so each test tells a whole story."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY
from omegaconf import OmegaConf

import stmask.cli
import stmask.commands.sweep
import stmask.commands.train
from stmask.config import compose as compose_config
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.errors import ConfigError, Interrupted, StmaskError
from stmask.experiments.jobs import job_of
from stmask.experiments.rows import rows
from stmask.experiments.slurm import resources
from stmask.files import read_json
from stmask.runs.folder import state_of

JOBS = [*TINY, "data.samples_per_epoch=8", "records=none", "deterministic=true"]
DDP = ["trainer.strategy=ddp", "trainer.max_steps=2", "data.valid=null"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4)
    return write_dataset(tmp_path_factory.mktemp("sweep") / "synthetic", config, videos=4, valid_videos=2)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def sweep(dataset: Path, *overrides: str) -> int:
    return stmask.commands.train.main(["-m", *JOBS, f"data.root={dataset}", *overrides])


def folders(root: str = "runs") -> list[Path]:
    return sorted(path.parent for path in Path(root, "sweeps").glob("*/seed_*/job.json"))


def verdicts(table: str) -> list[str]:
    return [line.partition("  ")[0] for line in table.splitlines() if line[:1].strip() and "runs/sweeps" in line]


def weights(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


# --- the command


def test_all_is_the_six_tables_and_others_can_stand_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.commands.sweep.main(["all", "coco", "table4", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 31 + 8 == len(set(listed))


@pytest.mark.parametrize("table", ["table2", "table4"])
def test_list_prints_the_rows_and_nothing_else(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.commands.sweep.main([table, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [row.name for row in rows(table)]
    assert not Path("runs").exists()


def test_rows_are_named_as_experiments_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.commands.sweep.main(["table6/t6_masktrack_r50", "table1/t1_3x5", "table6", "--list"]) == 0
    listed = capsys.readouterr().out.split()
    assert listed[:2] == ["t6_masktrack_r50", "t1_3x5"]
    assert len(listed) == 1 + len(rows("table6"))


def test_the_command_is_a_multirun_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(stmask.commands.train, "main", lambda argv: given.append(list(argv)) or 0)
    words = ["table1", "table4", "seeds=0,1", "recipe=tiny", "hydra.launcher.devices=[0,1]", "--retry-failed"]
    assert stmask.commands.sweep.main(words) == 0
    chosen = "table1/t1_3x3,table1/t1_3x2,table1/t1_3x5,table4/t4_fca_ada,table4/t4_fca_ali"
    chosen += ",table4/t4_fca_ada_tf,table4/t4_fca_ali_tf"
    expected = ["-m", "seed=0,1", f"experiment={chosen}", "recipe=tiny", "hydra.launcher.devices=[0,1]"]
    assert given == [[*expected, "retry_failed=true"]]
    *notes, command = capsys.readouterr().out.splitlines()
    assert notes == ["# one run for all of: t1_3x3, t4_baseline", "# one run for all of: t1_3x5, t4_fca"]
    assert command.startswith("stmask train -m seed=0,1 experiment=table1/t1_3x3,")
    assert command.endswith("recipe=tiny 'hydra.launcher.devices=[0,1]' retry_failed=true")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel4"], "unknown table 'tabel4'; did you mean 'table4'?"),
        (["t4_fca_ada"], "unknown table 't4_fca_ada'; it is a row of table4: `stmask train exp"),
        (["table1/t4_fca_ada"], "table1 has no row 't4_fca_ada'; there are: t1_3x3, t1_3x2, t1_3x5"),
        (["seeds=0"], "which table? There are: table1, "),
        (["table1", "seed=1", "seeds=0"], "seed=1 and seeds=0 contradict each other; give seeds=0,1,2 once"),
        (["table1", "experiment=demo"], "experiment= follows from the table"),
        (["table1", "sed=1"], "unknown key 'sed'; did you mean 'seed'?"),
        (["table1", "recipe=tinny"], "no option 'tinny' in group 'recipe'; did you mean 'tiny'?"),
        (["table1", "optimizer.lr=fast"], "optimizer.lr must be float or Tensor, got 'fast'"),
        (["table1", "trainer.strategy=ddp_spawn"], "trainer.strategy=ddp_spawn loses what its processes find out"),
        (["table1"], "model.backbone.frozen_norm=true (model/backbone/r50.yaml) keeps the batch norms"),
        (
            ["table1", "recipe=tiny", "trainer.max_steps=20"],
            "trainer.max_steps=20 (yours) is not above scheduler.warmup_steps=20 (recipe/tiny.yaml): give more steps, "
            "or a shorter warm-up (all 3 jobs; none was started)",
        ),
        (
            ["table1", "recipe=tiny", "hydra/launcher=gpus", "hydra.launcher.jobs_per_device=0"],
            "hydra.launcher.jobs_per_device must be",
        ),
        (
            ["table1", "recipe=tiny", "hydra/launcher=gpus", "hydra.launcher.jobs_per_device=1.5"],
            "hydra.launcher.jobs_per_device must",
        ),
        (["table1", "hydra/launcher=gpus", "hydra.launcher.job_per_device=2"], "unknown key 'hydra.launcher.job_per_"),
        (["table1", "hydra/launcher=gpu"], "no option 'gpu' in group 'hydra/launcher'; did you mean 'gpus'?"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stmask.commands.sweep.main(words)
    assert str(caught.value).startswith(message)
    assert not folders()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.root=/nowhere"], "no dataset folder /nowhere: give its path by data.root=... "),
        (["data.valid=other"], "no annotations of split 'other' in DATASET: looked for other.json"),
        (["data.train_annotations=DATASET/a.json", "data.train_frames=DATASET"], "no such file: DATASET/a.json"),
        (["data.valid_frames=DATASET/frames"], "no folder of frames DATASET/frames"),
        (["init_from=coco.ckpt"], "cannot read the checkpoint coco.ckpt: no such file"),
        (["data.mix=[{_target_:stmask.data.Source,root:/coco}]"], "no dataset folder /coco: "),
    ],
)
def test_files_that_are_not_here_are_told_before_anything_starts(dataset: Path, words: list[str], message: str) -> None:
    given = [word.replace("DATASET", str(dataset)) for word in words]
    with pytest.raises(StmaskError) as caught:
        sweep(dataset, "seed=0,1", *given)
    assert str(caught.value).startswith(message.replace("DATASET", str(dataset)))
    assert str(caught.value).endswith("(all 2 jobs; none was started)")
    assert not folders()


def test_every_job_s_problem_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    given = [word for word in JOBS if not word.startswith("scheduler.")]
    words = ["train", "-m", *given, "scheduler.warmup_steps=1,9", "seed=0,1", "model.tracker.max_age=5,old"]
    assert stmask.cli.main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        "stmask: error: 6 of 8 jobs cannot work; none was started:",
        "  model.tracker.max_age must be int, got 'old' (scheduler.warmup_steps=1 seed=0 model.tracker.max_age=old; "
        "scheduler.warmup_steps=1 seed=1 model.tracker.max_age=old; scheduler.warmup_steps=9 seed=0 "
        "model.tracker.max_age=old and 1 more)",
        "  trainer.max_steps=4 is not above scheduler.warmup_steps=9: give more steps, or a shorter warm-up "
        "(scheduler.warmup_steps=9 seed=0 model.tracker.max_age=5; scheduler.warmup_steps=9 seed=1 "
        "model.tracker.max_age=5)",
    ]
    assert not folders()


def test_a_missing_plugin_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.config_store import ConfigStore

    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(launchers, "submitit_slurm.yaml", raising=False)
    with pytest.raises(ConfigError, match=r"needs the extra 'slurm': pip install 'stmask\[slurm\]'"):
        stmask.commands.train.main(["-m", "hydra/launcher=slurm", "seed=0"])


def test_only_the_first_process_of_a_torchrun_sweeps(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as caught:
        sweep(dataset, "seed=0,1")
    assert caught.value.code == 0
    assert not folders()


# --- jobs


@pytest.mark.slow
def test_what_is_done_is_skipped_and_what_failed_is_tried_again_when_asked(
    dataset: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "stmask", "train", "-m", "seed=0"])
    later = Path("later").absolute()
    later.mkdir()
    for name in ("train.json", "valid.json"):
        (later / name).write_text("{")
    command = [f"data.root={dataset},{later}", "hydra/launcher=gpus", "hydra.launcher.jobs_per_device=2"]
    with pytest.raises(StmaskError, match=f"1 of 2 jobs are not done; data.root={later}: failed, .*later"):
        stmask.commands.train.main(["-m", *JOBS, *command])
    assert sorted(map(state_of, folders())) == ["done", "failed"]
    said = capfd.readouterr()
    assert verdicts(said.out) == ["done", "failed"]
    assert "on device 0: data.root=" in said.err
    assert "on device 1: data.root=" in said.err
    assert "up to 2 processes at a time, each with OMP_NUM_THREADS=1" in said.err
    for folder in folders():
        assert (folder / "job.log").is_file()
    good = next(folder for folder in folders() if state_of(folder) == "done")
    made = read_json(good / "run.json")
    assert (made["experiment"], made["table"]) == ("demo", None)
    assert f"data.root={dataset}" in made["overrides"]
    assert made["command"] == ["stmask", "train", "-m", "seed=0"]

    with pytest.raises(StmaskError, match="failed before, .*retry_failed=true tries again"):
        stmask.commands.train.main(["-m", *JOBS, *command])
    assert read_json(good / "status.json")["attempts"] == 1

    shutil.rmtree(later)
    later.symlink_to(dataset)
    assert stmask.commands.train.main(["-m", *JOBS, *command, "retry_failed=true"]) == 0
    assert [state_of(folder) for folder in folders()] == ["done", "done"]
    assert read_json(good / "status.json")["attempts"] == 1
    assert verdicts(capfd.readouterr().out)[-2:] == ["skipped", "done"]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_where_it_was(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    long = ["trainer.max_steps=24", "data.samples_per_epoch=48", "checkpoint_every=4", "seed=0,1"]

    def stop() -> None:
        while not list(Path("runs").rglob("last.ckpt")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted) as caught:
        sweep(dataset, *long)
    assert caught.value.code == 143
    (first,) = (folder for folder in folders() if state_of(folder) != "new")
    assert state_of(first) == "interrupted"
    assert 0 < read_json(first / "status.json")["step"] < 24
    table = capfd.readouterr().out
    assert "interrupted" in table
    assert "not started" in table

    assert sweep(dataset, *long) == 0
    assert [read_json(folder / "status.json")["attempts"] for folder in folders()] == [2, 1]
    assert "resumed" in capfd.readouterr().out


@pytest.mark.slow
def test_distributed_jobs_by_lightning_and_by_torchrun_are_the_same(dataset: Path) -> None:
    """Two processes and one in the same sweep, in the order that breaks launchers which leave traces."""
    assert sweep(dataset, *DDP, "trainer.devices=2,1") == 0
    assert sweep(dataset, *DDP, "trainer.devices=2", "output_root=again", "hydra.launcher.torchrun=true") == 0
    by_devices = {OmegaConf.load(folder / "config.yaml").trainer.devices: weights(folder) for folder in folders()}
    assert by_devices.keys() == {1, 2}
    (by_torchrun,) = map(weights, folders("again"))
    assert by_torchrun.keys() == by_devices[2].keys()
    assert all(torch.equal(by_torchrun[name], tensor) for name, tensor in by_devices[2].items())
    assert not all(torch.equal(by_devices[1][name], tensor) for name, tensor in by_devices[2].items())
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(os.environ)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher"), reason="needs stmask[slurm]")
def test_a_cluster_job_starts_the_same_processes(dataset: Path) -> None:
    assert sweep(dataset, *DDP, "trainer.devices=2", "hydra/launcher=submitit_local") == 0
    (folder,) = folders()
    assert state_of(folder) == "done"
    made = read_json(folder / "run.json")
    assert made["experiment"] == "demo"
    assert made["command"] == ["stmask", "train", *made["overrides"]]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper"), reason="needs stmask[search]")
def test_a_search_runs_its_trials_as_jobs(dataset: Path) -> None:
    arguments = [*JOBS, f"data.root={dataset}", "trainer.max_steps=4", "search=optuna", "hydra.sweeper.n_trials=2"]
    assert stmask.commands.train.main(arguments) == 0
    assert [state_of(folder) for folder in folders()] == ["done", "done"]
    (result,) = Path("runs/sweeps/launched").glob("*/optimization_results.yaml")
    assert "optimizer.lr" in result.read_text()


def test_a_slurm_job_asks_for_the_gpus_of_its_training() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from hydra import compose, initialize_config_dir

    from stmask.config import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", ["hydra/launcher=slurm", "trainer=ddp", "trainer.devices=4"], return_hydra_config=True)
    assert (cfg.hydra.launcher.gpus_per_node, cfg.hydra.launcher.tasks_per_node) == (None, 1)
    nodes = compose_config("train", ["experiment=demo", "trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2"])
    cpu = compose_config("train", ["experiment=demo", "trainer=cpu"])
    made = [job_of(one, overrides=[], experiment=None, command=(), title="") for one in (nodes, cpu)]
    assert resources(made[:1], cfg.hydra.launcher) == {"nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4}
    assert resources(made[:1], {"gpus_per_node": 2}) == {"nodes": 2, "tasks_per_node": 4}
    assert resources(made[1:], cfg.hydra.launcher) == {}
    with pytest.raises(ConfigError, match="jobs with trainer.num_nodes=1 and 2 need a sweep each"):
        resources(made, cfg.hydra.launcher)
