"""The work of our launchers: each job of a sweep gets its own process and a folder that repeated sweeps find again."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from stmask.config import as_typed
from stmask.config_folders import keep_folder
from stmask.errors import StmaskError
from stmask.experiments.checks import check_job, check_queue
from stmask.experiments.jobs import Job, job_of, merged
from stmask.experiments.outcomes import Outcome, monitored_value, outcome_before, run_jobs, table_of
from stmask.experiments.planning import command_of, plan, refusal
from stmask.experiments.processes import launched_by_torchrun

_OUTPUT = "job.log"
_NO_SEARCH = "BasicSweeper"  # the one sweeper that ignores metrics
_log = logging.getLogger(__name__)


def launch(
    job_overrides: Sequence[Sequence[str]],
    *,
    context: HydraContext,
    config: DictConfig,
    torchrun: bool = False,
    on_gpus: bool = False,
    devices: Sequence[int] | None = None,
    jobs_per_device: int = 1,
) -> Sequence[JobReturn]:
    """Trains the jobs and prints their outcomes, for the launchers of `hydra_plugins`.

    Args:
        job_overrides: for each job.
        context: Hydra's, which composes their configurations.
        config: of the sweep.
        torchrun: start the processes of a distributed job with torchrun, instead of leaving it to Lightning.
        on_gpus: as many jobs at a time as there is room for on the GPUs, each writing to its job.log; otherwise one
            after the other, on the terminal.
        devices: numbers of the GPUs to use; None for all that are visible.
        jobs_per_device: how many share one.

    Returns:
        For each list of overrides the metric that the job monitors, or an error if the job is not done.

    Raises:
        StmaskError: a job that cannot work; no job is started then. Interrupted: told to stop, after all jobs have
            stopped.
    """
    from stmask.engine.build import check_run

    if launched_by_torchrun() and os.environ["RANK"] != "0":
        raise SystemExit(0)  # one process runs the sweep, and starts the processes of its jobs
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sweepers write their results there
    searched = _is_search(config)

    def check(job: Job) -> None:
        if not searched:  # which goes on with the trials that can work
            check_run(job.cfg)
        check_job(job, launcher="gpus" if on_gpus else "in_turn")

    planned = plan(job_overrides, context=context, config=config, check=check)
    jobs = merged(planned)
    names, per_device = check_queue(jobs, devices=devices, per_device=jobs_per_device) if on_gpus else (None, 1)
    if not searched:
        _check_files([job for job in jobs if outcome_before(job) is None])
    keep_folder(Path(config.hydra.sweep.dir))
    _tell(jobs)
    log = _OUTPUT if on_gpus else None
    outcomes = run_jobs(jobs, devices=names, per_device=per_device, log=log, torchrun=torchrun)
    if len(planned) > 1 or not all(outcome.good for outcome in outcomes.values()):
        print(table_of(list(outcomes.values())), flush=True)
    error = _error(list(outcomes.values()))
    return [_returned(job, outcomes[job.folder], error, searched=searched) for job in planned]


def _check_files(due: Sequence[Job]) -> None:
    """Refuses all of them, each with its reason, if one names a file that is not here."""
    from stmask.engine.build import check_files

    problems: dict[str, list[str]] = defaultdict(list)
    for job in due:
        try:
            check_files(job.cfg)
        except StmaskError as error:
            problems[str(error)].append(job.title)
    if problems:
        raise refusal(problems, total=len(due))


def launch_on_slurm(
    job_overrides: Sequence[Sequence[str]], *, context: HydraContext, config: DictConfig, settings: Mapping[str, Any]
) -> Sequence[JobReturn]:
    """As `launch`, with jobs of SLURM; `settings` are those of conf/hydra/launcher/slurm.yaml.

    Whether files are there is not looked at: the nodes may have what this machine has not.
    """
    from stmask.engine.build import check_run
    from stmask.experiments.slurm import run_on_slurm

    searched = _is_search(config)

    def check(job: Job) -> None:
        if not searched:
            check_run(job.cfg)

    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    given = {
        name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for name, value in settings.items()
    }
    ran = run_on_slurm(job_overrides, context=context, config=config, settings=given, check=check)
    error = _error([outcome for _, outcome in ran])
    return [_returned(job, outcome, error, searched=searched) for job, outcome in ran]


def _is_search(config: DictConfig) -> bool:
    return not str(config.hydra.sweeper.get("_target_")).endswith(_NO_SEARCH)


def train_as_process(cfg: DictConfig) -> float | None:
    """Runs a job for another launcher (submitit's, joblib's, Hydra's basic one).

    Returns:
        The metric that the job monitors.

    Raises:
        StmaskError: the job is not done.
        Interrupted: told to stop; the job can be resumed.
    """
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    job = job_of(
        cfg,
        overrides=overrides,
        experiment=hydra.runtime.choices.get("experiment"),
        command=command_of(overrides),
        title=" ".join(as_typed(overrides)),
    )
    if "SLURM_NTASKS" not in os.environ:
        check_job(job, launcher=str(hydra.runtime.choices.get("hydra/launcher")))
    outcome = run_jobs([job], devices=None)[job.folder]
    error = _error([outcome])
    if error is not None:
        raise error
    return monitored_value(job)


class _Failed(JobReturn):
    """Raises its error without Hydra's line before it, since the table shows it."""

    def __init__(self, overrides: Sequence[str], cfg: DictConfig, error: StmaskError | None) -> None:
        super().__init__(overrides, cfg, status=JobStatus.FAILED)
        self.error = error or StmaskError("a job is not done")

    @property
    def return_value(self) -> Any:
        raise self.error

    @return_value.setter
    def return_value(self, value: Any) -> None:
        raise AttributeError("a job that is not done has no return value")


def _returned(job: Job, outcome: Outcome, error: StmaskError | None, *, searched: bool) -> JobReturn:
    value = monitored_value(job) if outcome.good else None
    if searched and outcome.good and value is None:
        error = StmaskError(f"{job.title}: the run ended without a {job.cfg.monitor} to search by")
    if not outcome.good or (searched and value is None):
        return _Failed(job.origin.overrides, job.cfg, error)
    returned = JobReturn(job.origin.overrides, job.cfg, status=JobStatus.COMPLETED)
    returned.return_value = value
    return returned


def _error(outcomes: Sequence[Outcome]) -> StmaskError | None:
    bad = [outcome for outcome in outcomes if not outcome.good]
    if not bad:
        return None
    first = f"{bad[0].job.title}: {bad[0].verdict}" + (f", {bad[0].error}" if bad[0].error else "")
    return StmaskError(first if len(outcomes) == 1 else f"{len(bad)} of {len(outcomes)} jobs are not done; {first}")


def _tell(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.twins:
            _log.info("one run for all of: %s; %s", job.title, "; ".join(job.twins))
