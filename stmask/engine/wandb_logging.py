"""Weights & Biases: what it gets of a run, and what happens when it does not answer."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.engine.records import ValidationRecord
from stmask.engine.wandb_environment import Mode, wandb_settings
from stmask.errors import ConfigError
from stmask.extras import require
from stmask.files import atomic_open, read_json
from stmask.runs.config import read_config
from stmask.runs.folder import BEST, CHANGES, CHECKPOINTS, CONFIG, LAST, LOG, RECORD, SUMMARY
from stmask.runs.validations import CLASSES, METRICS, RESULTS, record_folders
from stmask.wandb_errors import is_refusal, reason

STEP = "trainer/global_step"
RUN_KEY = "run"  # of the configuration: what run.json says
_FILES = (CHANGES, LOG)  # of the run's folder, as they are at its end
_PROJECT = "stmask"
_RUN_ID_FILE = Path("wandb") / "run-id.txt"  # in the run's folder
_log = logging.getLogger(__name__)


class WandbLogger(Logger):
    """Logs a run to W&B, from its first process: `start` once the run's folder is described, `finish` at the end.

    The run's configuration is config.yaml, with run.json under "run"; a run that goes on in the same folder goes on in
    W&B. Offline everything stays below `folder`/wandb. Once training has begun, what W&B can't do costs one warning.

    What is null is what W&B's own variable says: WANDB_MODE (or WANDB_DISABLED), WANDB_PROJECT, WANDB_ENTITY,
    WANDB_RUN_GROUP, WANDB_NAME, WANDB_NOTES, WANDB_TAGS; WANDB_DIR and WANDB_RUN_ID count too.

    Args:
        folder: of the run.
        mode: "online" needs a key, and turns into "offline" when the server can't be reached; "disabled" does nothing.
            Null without a variable is "offline", and "online" under an agent of a W&B sweep.
        project, entity: where online runs go; null is "stmask" and W&B's own default.
        group: null for the table that the run is a row of, where it is one.
        name: null for the experiment, or else the run's name, and the seed.
        notes: a text on the run.
        tags: of the run.
        log_checkpoints: keep best.ckpt and last.ckpt as artifacts at the end.
        init_timeout: seconds until the server is given up at the start.
        finish_timeout: seconds at the end for what is not uploaded yet.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        mode: Mode | None = None,
        project: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] = (),
        log_checkpoints: bool = True,
        init_timeout: float = 30.0,
        finish_timeout: float = 300.0,
    ) -> None:
        super().__init__()
        self._folder = Path(folder)
        keys = {"project": project, "entity": entity, "group": group, "name": name, "notes": notes, "tags": tuple(tags)}
        self._settings = wandb_settings(mode, keys)
        if self._settings.mode != "disabled":
            require("wandb", what="logger=wandb")
        self._log_checkpoints = log_checkpoints
        self._timeouts: dict[str, Any] = {"init_timeout": init_timeout, "finish_timeout": finish_timeout}
        self._run: Any = None
        self._warned = False

    @property
    def name(self) -> str:
        return str(self._settings.arguments.get("project", _PROJECT))

    @property
    def version(self) -> str | None:
        return None if self._run is None else str(self._run.id)

    @rank_zero_only
    def start(self) -> None:
        """Begins the run, or goes on with it.

        Raises:
            ConfigError: W&B refuses the key, the entity or the project, or there is no key.
        """
        for remark in self._settings.remarks:
            _log.warning("W&B: %s", remark)
        if self._settings.mode == "disabled":
            return
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # through which W&B counts its users
        if self._settings.mode == "online":
            self._run = self._start_online()
        if self._run is None:
            with self._never_fatal("start"):
                self._run = self._init("offline")
                _log.info("W&B: once the run is over, `wandb sync %s` uploads it", Path(self._run.dir).parent)

    def _start_online(self) -> Any:
        import wandb

        try:
            return self._init("online")
        except Exception as error:
            if is_refusal(error):
                raise ConfigError(
                    f"W&B refuses this run ({reason(error)}): log in with `wandb login` or a right WANDB_API_KEY, "
                    "check logger.wandb.entity and logger.wandb.project, or keep the "
                    "run to this machine with logger.wandb.mode=offline"
                ) from error
            _log.warning("W&B does not answer (%s): this run is logged offline", reason(error))
        wandb.teardown()  # its service still holds the run's id
        return None

    def _init(self, mode: Mode) -> Any:
        import wandb

        config = read_config(self._folder / CONFIG)
        origin = read_json(self._folder / RECORD) if (self._folder / RECORD).exists() else {}
        row = str(origin.get("experiment") or config.get("name")).rpartition("/")[2]
        arguments = {
            "project": _PROJECT,
            "group": origin.get("table"),
            "name": f"{row} seed {config.get('seed')}",
            "dir": str(self._folder),
            **self._settings.arguments,
        }
        arguments["id"] = self._keep_run_id(arguments.get("id"))
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)  # W&B takes a temporary folder for a missing one
        for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
            del os.environ[name]  # W&B takes an empty WANDB_MODE for an unknown mode
        wandb.setup(wandb.Settings(silent=True))  # neither chatter nor questions: a job has no one to answer
        run = wandb.init(
            mode=mode,
            resume="allow",
            reinit="create_new",  # the next run of this process has nothing to do with this one
            config={**config, RUN_KEY: origin},
            allow_val_change=True,  # a run that goes on may last longer
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                finish_timeout_raises=True,
                **self._timeouts,
            ),
            **arguments,
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    def _keep_run_id(self, asked: str | None) -> str:
        """The run's id in W&B: the one that is asked for, or that it had before, or else a new one."""
        file = self._folder / _RUN_ID_FILE
        before = file.read_text(encoding="utf-8").strip() if file.exists() else None
        run_id = asked or before or secrets.token_hex(4)
        if run_id != before:
            with atomic_open(file) as handle:
                handle.write(f"{run_id}\n")
        return run_id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `start` hands over the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self._never_fatal("log metrics"):
            if self._run is not None:
                self._run.log({**metrics, **({} if step is None else {STEP: step})})

    @rank_zero_only
    def log_validation(self, record: ValidationRecord) -> None:
        """Tables and pictures of a validation, beside its metrics."""
        with self._never_fatal("log a validation"):
            if self._run is not None:
                self._run.log({**_media(record), STEP: record.step - 1})

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Ends the run; checkpoints and results are kept as artifacts if it went well (exit code 0)."""
        run, self._run = self._run, None
        if run is None:
            return
        if exit_code == 0:
            self._keep_results(run)
        with self._never_fatal("keep files"):
            for path in [self._folder / name for name in _FILES if (self._folder / name).exists()]:
                run.save(shutil.copy(path, run.dir), base_path=run.dir, policy="now")
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            place = Path(run.dir).parent
            _log.warning("W&B did not take everything (%s): `wandb sync %s` uploads the rest", reason(error), place)

    def _keep_results(self, run: Any) -> None:
        """The metrics of the best validation, in place of the latest; results and checkpoints as artifacts."""
        with self._never_fatal("keep the summary"):
            if (path := self._folder / SUMMARY).exists():
                run.summary.update(read_json(path))
        records = [folder for _, folder in record_folders(self._folder / "validation")]
        results = [folder / name for folder in records for name in (METRICS, CLASSES, RESULTS)]
        self._keep(run, "results", {f"{path.parent.name}/{path.name}": path for path in results}, alias="final")
        for name in (LAST, BEST) if self._log_checkpoints else ():
            self._keep(run, "checkpoint", {name: self._folder / CHECKPOINTS / name}, alias=Path(name).stem)

    def _keep(self, run: Any, name: str, files: Mapping[str, Path], *, alias: str) -> None:
        import wandb

        with self._never_fatal(f"keep the {name}"):
            artifact = wandb.Artifact(f"{name}-{run.id}", type="model" if name == "checkpoint" else name)
            there = {name: path for name, path in files.items() if path.exists()}
            for name, path in there.items():
                artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)  # no copies in the home
            if there:
                run.log_artifact(artifact, aliases=[alias])

    @contextmanager
    def _never_fatal(self, what: str) -> Iterator[None]:
        """A service is not worth a run: the first failure is logged, later ones are silent."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                _log.warning("W&B cannot %s (%s); the run goes on, without further warnings", what, reason(error))
            self._warned = True


@contextmanager
def wandb_runs(loggers: Sequence[Logger]) -> Iterator[None]:
    """The W&B runs among the loggers last as long as the block.

    Raises:
        ConfigError: see `WandbLogger.start`.
    """
    runs = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    for run in runs:
        run.start()
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        for run in runs:
            run.finish(exit_code)


def _media(record: ValidationRecord) -> dict[str, Any]:
    import wandb

    names = {0: "nothing", **dict(enumerate(record.class_names, start=1))}
    media: dict[str, Any] = {}
    if record.classes:
        rows = [[_cell(value) for value in row.values()] for row in record.classes]
        media["validation/classes"] = wandb.Table(columns=list(record.classes[0]), data=rows)
    if record.frames:
        media["validation/clips"] = [
            wandb.Image(
                frame.frame,
                caption=frame.title,
                masks={"prediction": {"mask_data": frame.labels, "class_labels": names}},
            )
            for frame in record.frames
        ]
    if record.film is not None:
        media["validation/film"] = wandb.Video(str(record.film), format="mp4")
    return media


def _cell(value: str) -> str | float | None:
    """A field of a CSV file; an empty one is a metric that is not defined."""
    try:
        return float(value) if value else None
    except ValueError:
        return value
