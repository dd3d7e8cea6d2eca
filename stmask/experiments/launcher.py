"""Hydra launchers that give each job of a sweep a process of its own, and a folder that a repetition finds again."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, open_dict, read_write

from stmask.config import check_config
from stmask.config_folders import keep_folder
from stmask.errors import StmaskError
from stmask.experiments.checks import check_jobs, check_queue
from stmask.experiments.jobs import Job, job_of, merged, titles_of
from stmask.experiments.outcomes import Outcome, monitored_value, run_jobs, table_of
from stmask.experiments.processes import launched_by_torchrun

_PLUGINS = "hydra_plugins.stmask"  # Hydra takes launchers from below this name only
_OUTPUT = "job.log"
_PROGRAM = "stmask"
_NO_SEARCH = "BasicSweeper"  # the one sweeper that looks at no metric
_log = logging.getLogger(__name__)


class InTurn(Launcher):
    """One job after the other on this machine, each with all its devices, its output on the terminal.

    Args:
        torchrun: start the processes of a distributed job by torchrun, and not by Lightning.
    """

    __module__ = _PLUGINS
    name = "in_turn"
    log: str | None = None  # of a job's folder, that its process writes to; None for the terminal

    def __init__(self, *, torchrun: bool = False) -> None:
        self.torchrun = torchrun

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra; the task function is left alone, because jobs are processes."""
        self._context, self._config = hydra_context, config

    def devices_for(self, jobs: Sequence[Job]) -> list[str] | None:
        """What the queue hands out; None for one job at a time."""
        return None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Trains the jobs and prints what came of them.

        Returns:
            For each list of overrides the metric that the job monitors, or an error where it is not done.

        Raises:
            StmaskError: a job that cannot work; none is started then.
            Interrupted: told to stop, when all jobs have stopped.
        """
        if launched_by_torchrun() and os.environ["RANK"] != "0":
            raise SystemExit(0)  # one process runs the sweep, and starts the processes of its jobs
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sweepers write their results there
        titles = titles_of(job_overrides, command=self._config.hydra.overrides.task)
        planned = [self._plan(*job) for job in zip(job_overrides, titles)]
        jobs = merged(planned)
        check_jobs(jobs, launcher=self.name)
        keep_folder(Path(self._config.hydra.sweep.dir))
        _tell(jobs)
        outcomes = run_jobs(jobs, devices=self.devices_for(jobs), log=self.log, torchrun=self.torchrun)
        if len(planned) > 1 or not all(outcome.good for outcome in outcomes.values()):
            print(table_of(list(outcomes.values())), flush=True)
        error = _error(list(outcomes.values()))
        searched = not str(self._config.hydra.sweeper.get("_target_")).endswith(_NO_SEARCH)
        return [_returned(job, outcomes[job.folder], error, searched=searched) for job in planned]

    def _plan(self, overrides: Sequence[str], title: str) -> Job:
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        outer, HydraConfig.instance().cfg = HydraConfig.instance().cfg, composed  # type: ignore[assignment]
        try:
            experiment = composed.hydra.runtime.choices.get("experiment")
            cfg = copy.deepcopy(composed)
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            cfg = check_config(cfg, "train")
            return job_of(cfg, overrides=overrides, experiment=experiment, command=_command(overrides), title=title)
        finally:
            HydraConfig.instance().cfg = outer


class Gpus(InTurn):
    """As many jobs at a time as there are GPUs for them; each has trainer.devices of its own. Output goes to job.log.

    Args:
        devices: numbers of the GPUs to use; None for all that are visible.
        torchrun: as of `InTurn`.
    """

    __module__ = _PLUGINS
    name = "gpus"
    log = _OUTPUT

    def __init__(self, *, devices: ListConfig | Sequence[int] | None = None, torchrun: bool = False) -> None:
        super().__init__(torchrun=torchrun)
        self.devices = None if devices is None else list(devices)

    def devices_for(self, jobs: Sequence[Job]) -> list[str] | None:
        return check_queue(jobs, devices=self.devices)


def register() -> None:
    """Makes the launchers known to Hydra, which takes plugins from one namespace only."""
    for launcher in (InTurn, Gpus):
        Plugins.instance().register(launcher)
    namespace, _, name = _PLUGINS.partition(".")
    try:
        package = importlib.import_module(namespace)
    except ImportError:  # no plugin is installed
        package = sys.modules.setdefault(namespace, types.ModuleType(namespace))
    sys.modules[_PLUGINS] = sys.modules[__name__]
    setattr(package, name, sys.modules[__name__])


def train_as_process(cfg: DictConfig) -> float | None:
    """What the task of another launcher does with its job (submitit's, joblib's, Hydra's basic one).

    Returns:
        The metric that the job monitors.

    Raises:
        StmaskError: the job is not done.
        Interrupted: told to stop; the job can go on.
    """
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    job = job_of(
        cfg,
        overrides=overrides,
        experiment=hydra.runtime.choices.get("experiment"),
        command=_command(overrides),
        title=" ".join(overrides),
    )
    if "SLURM_NTASKS" not in os.environ:
        check_jobs([job], launcher=str(hydra.runtime.choices.get("hydra/launcher")))
    outcome = run_jobs([job], devices=None)[job.folder]
    error = _error([outcome])
    if error is not None:
        raise error
    return monitored_value(job)


class _Failed(JobReturn):
    """Raises its error without Hydra's line before it: the table has said it."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def _returned(job: Job, outcome: Outcome, error: StmaskError | None, *, searched: bool) -> JobReturn:
    value = monitored_value(job) if outcome.good else None
    if searched and outcome.good and value is None:
        error = StmaskError(f"{job.title}: the run ended without a {job.cfg.monitor} to search by")
    good = outcome.good and not (searched and value is None)
    returned = JobReturn() if good else _Failed()
    returned.overrides, returned.cfg = job.origin.overrides, job.cfg
    returned.status = JobStatus.COMPLETED if good else JobStatus.FAILED
    returned.return_value = value if good else error
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


def _command(overrides: Sequence[str]) -> tuple[str, ...]:
    """What the user typed; that of the job alone in a process that another launcher started."""
    words = [Path(word).name for word in sys.orig_argv]
    if _PROGRAM in words:
        return (_PROGRAM, *sys.orig_argv[words.index(_PROGRAM) + 1 :])
    return (_PROGRAM, "train", *overrides)
