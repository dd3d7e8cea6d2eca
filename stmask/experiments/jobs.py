"""Jobs of a sweep: each a configuration with the folder that it trains into.

`python -m stmask.experiments.jobs FOLDER` trains the job of a folder. It is not a Hydra application: the processes that
Lightning or torchrun start for a distributed job repeat this command, and each reads the same finished configuration.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from stmask.config import as_typed, check_config
from stmask.console import exit_status
from stmask.errors import ConfigError, DataError
from stmask.experiments.rows import BESIDES, tables
from stmask.files import read_json, write_json
from stmask.runs.folder import Origin
from stmask.runs.identity import NEUTRAL_KEYS, config_hash
from stmask.threads import begin

SWEEPS = "sweeps"
_JOB = "job.json"
_NO_EXPERIMENT = "none"
_NAMES = {"name": "", "tags": [], "output_dir": ""}  # what jobs with one folder may differ in
_RESUME = "auto"


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        cfg: checked; it trains into `folder`, resuming what is there.
        origin: how it was requested.
        folder: follows from the configuration and the seed.
        title: what distinguishes it from the sweep's other jobs.
        twins: titles of jobs that are the same run.
    """

    cfg: DictConfig
    origin: Origin
    folder: Path
    title: str
    twins: tuple[str, ...] = ()

    @property
    def processes(self) -> int | None:
        """The number of processes on this machine; None if it is not fixed."""
        devices = self.cfg.trainer.get("devices", 1)
        if OmegaConf.is_list(devices):
            return len(devices)
        return devices if isinstance(devices, int) and devices > 0 else None

    @property
    def on_cpu(self) -> bool:
        return bool(self.cfg.trainer.get("accelerator") == "cpu")

    def write(self) -> None:
        """Writes what `read_job` reads; the folder is made.

        Raises:
            OutputError: the folder cannot be written to.
        """
        config = OmegaConf.to_container(self.cfg, resolve=True)
        write_json(self.folder / _JOB, {"origin": asdict(self.origin), "config": config}, indent=1)


def read_job(folder: Path) -> tuple[DictConfig, Origin]:
    """What `Job.write` wrote: the configuration, checked, and how it was requested.

    Raises:
        DataError: the folder holds no job.
        ConfigError: its configuration is from another version of this package.
    """
    content = read_json(folder / _JOB)
    try:
        asked = content["origin"]
        origin = Origin(tuple(asked["command"]), tuple(asked["overrides"]), asked["experiment"], asked["table"])
        return check_config(OmegaConf.create(content["config"]), "train"), origin
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / _JOB} describes no job") from error


def job_of(
    cfg: DictConfig, *, overrides: Sequence[str], experiment: str | None, command: Sequence[str], title: str
) -> Job:
    """The job of a composed configuration.

    Raises:
        ConfigError: the configuration sets the output folder or what to resume, which a sweep decides itself.
    """
    given = {_key(override) for override in overrides}
    if "output_dir" in given:
        raise ConfigError("output_dir cannot be chosen in a sweep, where each job has its folder: give output_root")
    if cfg.resume not in (None, _RESUME):
        raise ConfigError(f"resume={cfg.resume} cannot be chosen in a sweep, where each job resumes its own run")
    origin = origin_of(command=command, overrides=overrides, experiment=experiment)
    folder = run_folder_of(cfg)
    cfg = copy.deepcopy(cfg)
    cfg.output_dir, cfg.resume = str(folder), _RESUME
    return Job(cfg, origin, folder, title)


def origin_of(*, command: Sequence[str], overrides: Sequence[str], experiment: str | None) -> Origin:
    """How a run was requested, in a sweep or by itself.

    Args:
        experiment: the option of the group as it was composed; "none" means no experiment.
    """
    experiment = None if experiment == _NO_EXPERIMENT else experiment
    table = (experiment or "").partition("/")[0]
    return Origin(tuple(command), as_typed(overrides), experiment, table if table in (*tables(), *BESIDES) else None)


def run_folder_of(cfg: DictConfig) -> Path:
    """`<output_root>/sweeps/<network>-<hash>/seed_<n>`, absolute: it follows from the configuration and the seed."""
    network = str(cfg.model.get("_target_") or "network").rpartition(".")[2].lower()
    return Path(cfg.output_root).absolute() / SWEEPS / f"{network}-{config_hash(cfg)}" / f"seed_{cfg.seed}"


def merged(jobs: Sequence[Job]) -> list[Job]:
    """Each run once: jobs with the same folder that only differ in name become one with `twins`.

    Raises:
        ConfigError: two jobs would train the same network into the same folder, but read or log differently.
    """
    firsts: dict[Path, Job] = {}
    for job in jobs:
        first = firsts.setdefault(job.folder, job)
        if first is job:
            continue
        a, b = (OmegaConf.merge(one.cfg, _NAMES) for one in (first, job))
        # they have one hash, so nothing else can differ
        if keys := sorted(key for key in NEUTRAL_KEYS if OmegaConf.select(a, key) != OmegaConf.select(b, key)):
            raise ConfigError(
                f"{first.title} and {job.title} are the same run and would share {job.folder}: "
                f"they only differ in {', '.join(keys)}, so choose one of them"
            )
        firsts[job.folder] = replace(first, twins=(*first.twins, job.title))
    return list(firsts.values())


def titles_of(batch: Sequence[Sequence[str]], *, command: Sequence[str] = ()) -> list[str]:
    """For each job the overrides that not all jobs have.

    Args:
        batch: the overrides of each job.
        command: overrides of the command line; the title of a single job is what a sweeper added to them, or else its
            experiment and seed.
    """
    batch = [as_typed(overrides) for overrides in batch]
    given = {_key(override) for override in command}
    shared = set.intersection(*map(set, batch)) if len(batch) > 1 else {t for t in batch[0] if _key(t) in given}

    def title(overrides: Sequence[str]) -> str:
        own = [text for text in overrides if text not in shared]
        usual = [text for text in overrides if _key(text) in ("experiment", "seed")]
        return " ".join(own or usual or overrides) or "the defaults"

    return [title(overrides) for overrides in batch]


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _main(argv: Sequence[str]) -> None:
    begin()
    if len(argv) != 1:
        raise ConfigError("usage: python -m stmask.experiments.jobs FOLDER")
    cfg, origin = read_job(Path(argv[0]))

    from stmask.engine.train import train

    train(cfg, origin=origin)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: _main(sys.argv[1:])))
