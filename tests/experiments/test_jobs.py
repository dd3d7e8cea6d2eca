from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY

from stmask.config import compose
from stmask.errors import ConfigError, DataError
from stmask.experiments import checks
from stmask.experiments.checks import check_job, check_queue
from stmask.experiments.jobs import Job, job_of, merged, read_job, run_folder_of, titles_of
from stmask.experiments.outcomes import final_outcome, monitored_value, outcome_after, outcome_before, table_of
from stmask.files import write_json
from stmask.runs.folder import Origin, RunFolder


@cache
def composed(*overrides: str) -> Job:
    cfg = compose("train", [*TINY, *overrides])
    title = " ".join(overrides) or "the defaults"
    return job_of(cfg, overrides=[*TINY, *overrides], experiment="demo", command=("stmask", "train"), title=title)


def job(*overrides: str, root: Path | None = None) -> Job:
    return composed(*overrides) if root is None else composed(*overrides, f"output_root={root}")


# --- names and folders


def test_a_folder_follows_from_configuration_and_seed_alone(tmp_path: Path) -> None:
    first = run_folder_of(compose("train", [*TINY, "seed=3", f"output_root={tmp_path}"]))
    again = run_folder_of(
        compose(
            "train",
            [*TINY, "seed=3", f"output_root={tmp_path}", "name=b", "trainer.accelerator=auto", "deterministic=false"],
        )
    )
    other = run_folder_of(compose("train", [*TINY, "seed=4", f"output_root={tmp_path}"]))
    changed = run_folder_of(compose("train", [*TINY, "seed=3", f"output_root={tmp_path}", "optimizer.lr=1e-4"]))
    assert first == again
    assert first.parent == other.parent != changed.parent
    assert first.parent.parent == tmp_path / "sweeps"
    assert first.parent.name.startswith("stmask-")
    assert first.name == "seed_3"


# --- jobs


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = job("seed=2", root=tmp_path)
    written.write()
    cfg, origin = read_job(written.folder)
    assert cfg == compose(
        "train", [*TINY, "seed=2", f"output_root={tmp_path}", f"output_dir={written.folder}", "resume=auto"]
    )
    assert origin == written.origin == Origin(("stmask", "train"), tuple(written.origin.overrides), "demo", None)


@pytest.mark.parametrize("content", ["{}", '{"origin": 3, "config": {}}', "[]"])
def test_a_folder_without_a_job_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(DataError, match="job.json describes no job"):
        read_job(tmp_path)


def test_rows_know_their_table() -> None:
    cfg = compose("train", ["experiment=table4/t4_fca"])
    row = job_of(cfg, overrides=[], experiment="table4/t4_fca", command=(), title="")
    assert (row.origin.experiment, row.origin.table) == ("table4/t4_fca", "table4")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("output_dir=here", "output_dir cannot be chosen in a sweep, where each job has its folder: give output_root"),
        ("resume=a.ckpt", "resume=a.ckpt cannot be chosen in a sweep, where each job resumes its own run"),
    ],
)
def test_a_sweep_decides_on_folders_itself(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job(override)
    assert str(caught.value) == message


def test_one_run_under_two_names_is_one_job() -> None:
    first, other, twin = job("name=a"), job("seed=1"), job("name=b", "tags=[x]")
    jobs = merged([first, other, twin])
    assert [(each.title, each.twins) for each in jobs] == [("name=a", ("name=b tags=[x]",)), ("seed=1", ())]


def test_two_jobs_for_one_folder_are_refused_when_they_are_not_one_job() -> None:
    with pytest.raises(ConfigError, match="are the same run and would share .*: they only differ in data.num_workers"):
        merged([job("data.num_workers=0"), job("data.num_workers=1")])


def test_titles_tell_jobs_apart() -> None:
    assert titles_of([["a=1", "seed=0"], ["a=1", "seed=1"]]) == ["seed=0", "seed=1"]
    assert titles_of([["a=1"]]) == ["a=1"]
    assert titles_of([[]]) == ["the defaults"]
    assert titles_of([["lr=0.1", "a=1"]], command=["a=1"]) == ["lr=0.1"]
    assert titles_of([["a=1", "seed=3"]], command=["a=1", "seed=3"]) == ["seed=3"]


# --- what cannot work


def gpus(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(checks, "visible_gpus", lambda: list(names))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.num_nodes=2"], "trainer.num_nodes=2, but hydra/launcher=in_turn starts processes on this machine"),
        (["trainer.accelerator=gpu", "trainer.devices=3"], "trainer.devices=3, but this machine has 2 GPUs"),
        (["trainer.accelerator=gpu", "trainer.devices=[0,2]"], "trainer.devices names GPU 2; this machine has 2 GPUs"),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, "0", "1")
    with pytest.raises(ConfigError) as caught:
        check_job(job(*overrides), launcher="in_turn")
    assert message in str(caught.value)


def test_a_queue_has_the_gpus_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, "2", "5")
    jobs = [job("trainer.accelerator=gpu")]
    assert check_queue(jobs, devices=None) == (["2", "5"], 1)
    assert check_queue(jobs, devices=[1], per_device=3) == (["5"], 3)


def test_without_gpus_the_queue_has_shares_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch)
    assert check_queue([job()], devices=[0, 1, 2]) == (["0", "1", "2"], 1)
    assert check_queue([job()], devices=None, per_device=2) == (["0", "1"], 1)
    assert check_queue([job("trainer.devices=3")], devices=[0, 1], per_device=2) == (["0", "1", "2", "3"], 1)


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("3, 1", 2, ["3", "1"]),
        ("0,1,-1,2", 2, ["0", "1"]),  # nothing counts from -1 on
        ("GPU-1a,GPU-2b", 2, ["GPU-1a", "GPU-2b"]),
        ("MIG-1a,MIG-2b,MIG-3c", 1, ["MIG-1a", "MIG-2b", "MIG-3c"]),  # CUDA shows one of them to a process
        ("MIG-1a,MIG-2b", 0, []),  # no driver
    ],
)
def test_gpus_are_named_as_the_environment_names_them(
    monkeypatch: pytest.MonkeyPatch, given: str | None, count: int, expected: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert checks.visible_gpus() == expected


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "two", None])
def test_jobs_per_device_is_a_number(monkeypatch: pytest.MonkeyPatch, number: Any) -> None:
    gpus(monkeypatch, "0")
    with pytest.raises(ConfigError, match=r"^hydra\.launcher\.jobs_per_device must be a whole number from 1 on, got "):
        check_queue([job()], devices=None, per_device=number)


def test_a_run_has_one_part_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, "MIG-1a", "MIG-2b")
    jobs = [job("trainer.accelerator=gpu", "trainer.devices=2")]
    with pytest.raises(ConfigError, match=r"trainer\.devices=2, but a run can use one part of a GPU \(MIG\)"):
        check_queue(jobs, devices=None)


@pytest.mark.parametrize(
    ("override", "devices", "message"),
    [
        ("trainer.accelerator=gpu", [0, 7], "hydra.launcher.devices names GPU 7; there are: 0 to 1"),
        ("trainer.accelerator=gpu", [0, 0], "hydra.launcher.devices=[0, 0] must name each device once"),
        ("trainer.devices=3", [0, 1], "trainer.devices=3, but hydra/launcher=gpus has only 2"),
        (
            "trainer.devices=-1",
            [0, 1],
            "trainer.devices=-1, but hydra/launcher=gpus assigns the devices; give their number",
        ),
        (
            "trainer.devices=[0]",
            [0, 1],
            "trainer.devices=[0], but hydra/launcher=gpus assigns the devices; give their nu",
        ),
        ("seed=0", None, "hydra/launcher=gpus finds no GPU to use"),
        ("trainer.accelerator=gpu", ["MIG-1a"], "hydra.launcher.devices names 'MIG-1a': give numbers"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    override: str, devices: list[Any] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, "0", "1")
    with pytest.raises(ConfigError) as caught:
        check_queue([job(override)], devices=devices)
    assert message in str(caught.value)


# --- what a sweep finds, and what came of it


def in_state(state: str, root: Path, *overrides: str) -> Job:
    found = job(*overrides, root=root)
    write_json(found.folder / "status.json", {"state": state, "error": "no such file: train.json"})
    return found


@pytest.mark.parametrize(
    ("state", "overrides", "verdict"),
    [
        ("done", [], "skipped"),
        ("failed", [], "failed before"),
        ("failed", ["retry_failed=true"], None),
        ("interrupted", [], None),
        ("running", [], None),  # nobody holds its lock: it was cut off
    ],
)
def test_a_repeated_sweep_starts_what_is_not_done(
    state: str, overrides: list[str], verdict: str | None, tmp_path: Path
) -> None:
    outcome = outcome_before(in_state(state, tmp_path, *overrides))
    assert (None if outcome is None else outcome.verdict) == verdict


def test_a_new_job_is_started(tmp_path: Path) -> None:
    assert outcome_before(job(root=tmp_path)) is None


def test_a_job_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    taken = job(root=tmp_path)
    with RunFolder(taken.folder).locked():
        write_json(taken.folder / "status.json", {"state": "running", "pid": 7, "host": "a"})
        outcome = outcome_before(taken)
    assert outcome is not None
    assert (outcome.verdict, outcome.error, outcome.good) == ("in use", "by process 7 on a", False)


@pytest.mark.parametrize(
    ("state", "before", "exit_status", "stopped", "expected"),
    [
        ("done", "new", 0, False, ("done", None)),
        ("done", "cut off", 0, False, ("resumed", None)),
        ("failed", "new", 2, False, ("failed", "no such file: train.json")),
        ("interrupted", "new", 143, True, ("interrupted", "repeat the command to go on")),
        ("new", "new", 143, True, ("interrupted", "repeat the command to go on")),
        ("running", "new", -9, False, ("killed", "by SIGKILL; repeat the command to go on")),
        ("new", "new", 1, False, ("failed", "exit status 1, the reason is above")),
    ],
)
def test_outcomes(
    state: str, before: str, exit_status: int | None, stopped: bool, expected: tuple[str, str], tmp_path: Path
) -> None:
    ran = in_state(state, tmp_path)
    outcome = outcome_after(ran, before=before, exit_status=exit_status, stopped=stopped, log=None)  # type: ignore[arg-type]
    assert (outcome.verdict, outcome.error) == expected
    assert expected[0] in table_of([outcome])


def test_two_sweeps_leave_a_job_to_the_one_that_was_first(tmp_path: Path) -> None:
    taken = job(root=tmp_path)
    with RunFolder(taken.folder).locked():
        write_json(taken.folder / "status.json", {"state": "running", "pid": 7, "host": "a"})
        late = outcome_after(taken, before="new", exit_status=2, stopped=False, log=None)
        assert (late.verdict, late.error) == ("in use", "by process 7 on a")
        assert final_outcome(taken, late) == final_outcome(taken, None) == late
    write_json(taken.folder / "status.json", {"state": "done"})
    assert final_outcome(taken, late).verdict == final_outcome(taken, None).verdict == "skipped"


def test_a_job_that_was_never_started_says_so(tmp_path: Path) -> None:
    assert final_outcome(job(root=tmp_path), None).verdict == "not started"


def test_a_search_gets_the_monitored_metric(tmp_path: Path) -> None:
    ran = job(root=tmp_path)
    assert monitored_value(ran) is None
    write_json(ran.folder / "summary.json", {"valid/AP": 0.25})
    assert monitored_value(ran) == 0.25
