"""The jobs of a sweep, composed and checked, all of them before the first one starts."""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from stmask.config import as_typed, check_config, explain
from stmask.config_sources import with_sources
from stmask.errors import ConfigError, ErrorList, StmaskError
from stmask.experiments.jobs import Job, job_of, titles_of
from stmask.runs.identity import config_hash

_PROGRAM = "stmask"
_CONFIG = "train"
_NAMED = 3  # jobs of one problem


def plan(
    job_overrides: Sequence[Sequence[str]],
    *,
    context: HydraContext,
    config: DictConfig,
    check: Callable[[Job], None],
) -> list[Job]:
    """The jobs of a sweep, one for each list of overrides.

    Args:
        job_overrides: for each job.
        context: Hydra's, which composes their configurations.
        config: of the sweep.
        check: raises a StmaskError for a job that cannot work.

    Raises:
        ConfigError: jobs that cannot work, with the problem of each.
    """
    titles = titles_of(job_overrides, command=config.hydra.overrides.task)
    jobs: list[Job] = []
    problems: dict[str, list[str]] = defaultdict(list)
    sound: set[str] = set()  # configurations that only differ in their seed are checked once
    for overrides, title in zip(job_overrides, titles):
        cfg = config
        try:
            cfg = context.config_loader.load_sweep_config(config, list(overrides))
            job = _job(cfg, config, overrides, title)
            if (name := config_hash(job.cfg)) not in sound:
                check(job)
            sound.add(name)
            jobs.append(job)
        except (StmaskError, HydraException, OmegaConfBaseException) as error:
            told = error if isinstance(error, StmaskError) else explain(error, _CONFIG) or error
            message = with_sources(str(told), cfg, config_name=_CONFIG, overrides=overrides)
            problems[message].append(title)
    if problems:
        raise refusal(problems, total=len(titles))
    return jobs


def refusal(problems: Mapping[str, Sequence[str]], *, total: int) -> ConfigError:
    """The error for the problems of a sweep.

    Args:
        problems: what is wrong, each with the titles of its jobs.
        total: the number of jobs.
    """
    number = sum(map(len, problems.values()))
    if total == 1:
        return ConfigError(next(iter(problems)))
    if len(problems) == 1 and number == total:
        return ConfigError(f"{next(iter(problems))} (all {total} jobs; none was started)")
    lines = [f"{message} ({_some(titles)})" for message, titles in problems.items()]
    return ErrorList(f"{number} of {total} jobs cannot work; none was started", lines)


def _some(titles: Sequence[str]) -> str:
    more = f" and {len(titles) - _NAMED} more" if len(titles) > _NAMED else ""
    return "; ".join(titles[:_NAMED]) + more


def _job(composed: DictConfig, config: DictConfig, overrides: Sequence[str], title: str) -> Job:
    HydraConfig.instance().set_config(composed)  # for what it says about its own job
    try:
        experiment = composed.hydra.runtime.choices.get("experiment")
        cfg = copy.deepcopy(composed)
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        cfg = check_config(cfg, _CONFIG)
        return job_of(cfg, overrides=overrides, experiment=experiment, command=command_of(overrides), title=title)
    finally:
        HydraConfig.instance().set_config(config)


def command_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """What the user typed; only the job's own part in a process that another launcher started."""
    words = [Path(word).name for word in sys.orig_argv]
    if _PROGRAM in words:
        return (_PROGRAM, *sys.orig_argv[words.index(_PROGRAM) + 1 :])
    return (_PROGRAM, _CONFIG, *as_typed(overrides))
