"""Jobs of a sweep as jobs of SLURM: sent by submitit, watched by squeue, which needs no accounting."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from stmask.config_folders import keep_folder
from stmask.errors import ConfigError, StmaskError, one_line
from stmask.experiments.jobs import Job, merged, read_job
from stmask.experiments.outcomes import Outcome, final_outcome, outcome_after, outcome_before, run_jobs, table_of
from stmask.experiments.planning import plan
from stmask.experiments.processes import job_command, job_environment
from stmask.files import read_json, write_json
from stmask.runs.folder import status_of

_PLACE = "slurm.json"  # in a job's folder: the job of SLURM that trained it last, and its nodes
_QUEUE = ("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T")
_OVER = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
)
_POLLS = (2.0, 30.0)  # seconds between two questions: at the beginning, and later
_log = logging.getLogger(__name__)


def run_on_slurm(
    job_overrides: Sequence[Sequence[str]],
    *,
    context: HydraContext,
    config: DictConfig,
    settings: Mapping[str, Any],
    check: Callable[[Job], None],
) -> list[tuple[Job, Outcome]]:
    """Sends the jobs that are due, waits for them, and prints what happened.

    Args:
        job_overrides: for each job.
        context: Hydra's, which composes their configurations.
        config: of the sweep.
        settings: of the launcher, see conf/hydra/launcher/slurm.yaml.
        check: raises a StmaskError for a job that cannot work.

    Returns:
        Each job with its outcome.

    Raises:
        StmaskError: a job that cannot work, or SLURM takes none; no job was sent then.
    """
    planned = plan(job_overrides, context=context, config=config, check=check)
    jobs = merged(planned)
    before = {job.folder: status_of(job.folder).state for job in jobs}
    outcomes = {job.folder: outcome for job in jobs if (outcome := outcome_before(job)) is not None}
    due = [job for job in jobs if job.folder not in outcomes]
    keep_folder(Path(config.hydra.sweep.dir))
    if due:
        for job in due:
            job.write()
        sent = _sent(due, {**settings, **resources(due, settings)})
        _log.info("sent to SLURM: %s", ", ".join(f"{job_id} ({job.title})" for job, job_id in zip(due, sent)))
        ended = _wait(sent)
        for job, job_id in zip(due, sent):
            done = ended.get(job_id, "COMPLETED") == "COMPLETED"
            outcome = outcome_after(
                job, before=before[job.folder], exit_status=0 if done else 1, stopped=False, log=_log_of(job_id, config)
            )
            outcomes[job.folder] = final_outcome(job, outcome)
    print(table_of([outcomes[job.folder] for job in jobs], places={job.folder: place_of(job.folder) for job in jobs}))
    return [(job, outcomes[job.folder]) for job in planned]


@dataclass(frozen=True)
class TrainFolder:
    """What a task of SLURM does: trains the job of a folder, and is sent again when it is preempted or out of time."""

    folder: str

    def __call__(self) -> None:
        """Raises StmaskError: the job is not done."""
        folder = Path(self.folder)
        environment = os.environ
        if environment.get("SLURM_PROCID", "0") == "0":
            job_id = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID", "")
            number = environment.get("SLURM_ARRAY_TASK_ID")
            told = {
                "job": f"{job_id}_{number}" if number else job_id,
                "nodes": environment.get("SLURM_JOB_NODELIST", ""),
            }
            write_json(folder / _PLACE, told)
        if int(environment.get("SLURM_NTASKS", "1")) > 1:  # one process of the run each
            command = job_command(folder, processes=1, torchrun=False)
            process = subprocess.Popen(command, env=job_environment(), stdin=subprocess.DEVNULL)
            try:
                status = process.wait()
            finally:  # told to stop, by an exit from a signal's handler
                process.terminate()
                process.wait()
        else:
            cfg, origin = read_job(folder)
            job = Job(cfg, origin, folder, folder.name)
            outcome = run_jobs([job], devices=None)[folder]
            status = 0 if outcome.good else 1
        if status:
            sys.exit(status)

    def checkpoint(self) -> Any:
        """What submitit sends again: the run itself goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def place_of(folder: Path) -> str:
    """SLURM's job and nodes of a job, "4_1 on n2"; empty where no job of SLURM trained it."""
    try:
        said = read_json(folder / _PLACE)
        return f"{said['job']} on {said['nodes']}"
    except (StmaskError, KeyError, TypeError):
        return ""


def resources(jobs: Sequence[Job], settings: Mapping[str, Any]) -> dict[str, Any]:
    """GPUs, nodes and tasks as the jobs need them, where the launcher's settings say nothing."""
    trainers = [job.cfg.trainer for job in jobs]
    nodes = {int(trainer.get("num_nodes", 1)) for trainer in trainers}
    if len(nodes) > 1:
        raise ConfigError(f"jobs with trainer.num_nodes={' and '.join(map(str, sorted(nodes)))} need a sweep each")
    processes = max(job.processes or 1 for job in jobs)
    needed: dict[str, Any] = {}
    if (several := nodes.pop()) > 1:
        needed |= {"nodes": several, "tasks_per_node": processes}
    if settings.get("gpus_per_node") is None and not settings.get("gpus_per_task") and not settings.get("gres"):
        given = any(trainer.get("accelerator", "auto") in ("gpu", "cuda") for trainer in trainers)
        either = any(trainer.get("accelerator", "auto") == "auto" for trainer in trainers)
        if given or (either and _has_gpus(settings.get("partition"))):
            needed["gpus_per_node"] = processes
    return needed


def _has_gpus(partition: str | None) -> bool:
    of = [f"--partition={partition}"] if partition else []
    try:
        told = subprocess.run(["sinfo", "--noheader", "--format=%G", *of], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return "gpu" in told.stdout


def _sent(jobs: Sequence[Job], settings: Mapping[str, Any]) -> list[str]:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    given = {name: value for name, value in settings.items() if value is not None}
    folder, timeouts = given.pop("submitit_folder"), given.pop("max_num_timeout", 0)
    shared = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name",
              "stderr_to_stdout"}  # fmt: skip
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(**{name if name in shared else f"slurm_{name}": given[name] for name in given})
        with executor.batch():
            sent = [executor.submit(TrainFolder(str(job.folder))) for job in jobs]
        return [job.job_id for job in sent]
    except (RuntimeError, FailedJobError, FailedSubmissionError, OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"SLURM takes no job: {one_line(error)}") from error


def _wait(sent: Sequence[str]) -> dict[str, str]:
    """The last state of each job by its id; one that SLURM has forgotten keeps the state that it had before."""
    states: dict[str, str] = {}
    mains = ",".join(dict.fromkeys(job_id.partition("_")[0] for job_id in sent))
    pause, most = _POLLS
    try:
        while not all(states.get(job_id) in _OVER for job_id in sent):
            time.sleep(pause)
            pause = min(most, pause * 1.2)
            asked = subprocess.run([*_QUEUE, f"--jobs={mains}"], capture_output=True, text=True, check=False)
            if asked.returncode and "Invalid job id" in asked.stderr:
                break  # they ended long ago
            for line in asked.stdout.splitlines() if not asked.returncode else ():
                job_id, _, state = line.partition("|")
                if states.get(job_id) != state and job_id in sent:
                    _log.info("%s: %s", job_id, state.lower().replace("_", " "))
                states[job_id] = state
    except (KeyboardInterrupt, SystemExit):
        _log.warning("the jobs go on without this command: `scancel %s` ends them", mains.replace(",", " "))
        raise
    return states


def _log_of(job_id: str, config: DictConfig) -> Path:
    folder = str(OmegaConf.select(config, "hydra.launcher.submitit_folder"))
    return Path(folder.replace("%j", job_id)) / f"{job_id}_0_log.err"
