"""Weights & Biases: what it is told of a run, and what happens when it does not answer."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.engine.pictures import LabelledFrame
from stmask.engine.records import CLASSES, FIGURES, RESULTS, ValidationRecord, record_folders
from stmask.engine.run_config import read_config
from stmask.engine.wandb_environment import Mode, wandb_settings
from stmask.engine.wandb_offline import RUN_ID_FILE, run_id_of
from stmask.errors import ConfigError
from stmask.files import atomic_open, read_json

STEP = "trainer/global_step"
RUN_KEY = "run"  # of the configuration: what run.json says
_FILES = ("git.diff", "train.log")  # of the run's folder, as they are at its end
_REFUSALS = re.compile(r"not logged in|api.?key|permission|denied|unauthori|forbidden|not found|\b40[134]\b", re.I)
_LONGEST_REASON = 200  # letters of what W&B says went wrong
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
        self._settings = wandb_settings(
            mode=mode, project=project, entity=entity, group=group, name=name, notes=notes, tags=tags
        )
        self._log_checkpoints = log_checkpoints
        self._timeouts: dict[str, Any] = {"init_timeout": init_timeout, "finish_timeout": finish_timeout}
        self._run: Any = None
        self._warned = False

    @property
    def name(self) -> str | None:
        return self._settings.project

    @property
    def version(self) -> str | None:
        return None if self._run is None else str(self._run.id)

    @rank_zero_only
    def start(self) -> None:
        """Begins the run, or goes on with it.

        Raises:
            ConfigError: W&B refuses the key, the entity or the project, or there is no key.
        """
        for saying in self._settings.sayings:
            _log.warning("W&B: %s", saying)
        if self._settings.mode == "disabled":
            return
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # through which W&B counts its users
        if self._settings.mode == "online":
            self._run = self._start_online()
        if self._run is None:
            self._guarded("start", lambda _: self._start_offline(), needs_run=False)

    def _start_online(self) -> Any:
        import wandb
        from wandb.errors import AuthenticationError, CommError, UsageError

        try:
            return self._init("online")
        except (AuthenticationError, UsageError) as error:
            raise _refused(error) from error
        except Exception as error:
            if isinstance(error, CommError) and _REFUSALS.search(str(error)):
                raise _refused(error) from error
            _log.warning("W&B does not answer (%s): this run is logged offline", _one_line(error))
        wandb.teardown()  # its service still holds the run's id
        return None

    def _start_offline(self) -> None:
        self._run = self._init("offline")
        _log.info("W&B: once the run is over, `wandb sync %s` uploads it", Path(self._run.dir).parent)

    def _init(self, mode: Mode) -> Any:
        import wandb

        asked = self._settings
        place = Path(asked.folder or self._folder)
        place.mkdir(parents=True, exist_ok=True)  # W&B takes a temporary folder for one that is missing
        config, origin = _described(self._folder)
        row = str(origin.get("experiment") or config.get("name")).rpartition("/")[2]
        for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
            del os.environ[name]  # to W&B an empty WANDB_MODE is a mode that there isn't
        wandb.setup(wandb.Settings(silent=True))  # neither chatter nor questions: a job has no one to answer
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            finish_timeout_raises=True,
            **self._timeouts,
        )
        run = wandb.init(
            mode=mode,
            dir=str(place),
            id=_run_id(self._folder, asked.run_id),
            resume="allow",
            reinit="create_new",  # the next run of this process has nothing to do with this one
            project=asked.project,
            entity=asked.entity,
            name=asked.name or f"{row} seed {config.get('seed')}",
            group=asked.group or origin.get("table"),
            notes=asked.notes,
            tags=asked.tags,
            config={**config, RUN_KEY: origin},
            allow_val_change=True,  # a run that goes on may last longer
            settings=settings,
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `start` hands over the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = {} if step is None else {STEP: step}
        self._guarded("log figures", lambda run: run.log({**metrics, **at}))

    @rank_zero_only
    def log_validation(self, record: ValidationRecord) -> None:
        """Tables and pictures of a validation, beside its figures."""
        self._guarded("log a validation", lambda run: run.log({**_media(record), STEP: record.step - 1}))

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Ends the run; checkpoints and results are kept as artifacts if it went well (exit code 0)."""
        if exit_code == 0:
            self._guarded("keep the summary", self._keep_summary)
            self._guarded("keep the results", self._keep_results)
            if self._log_checkpoints:
                self._guarded("keep the checkpoints", self._keep_checkpoints)
        self._guarded("keep files", self._keep_files)
        if self._run is not None:
            self._end(exit_code)

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            place = Path(run.dir).parent
            _log.warning("W&B did not take everything (%s): `wandb sync %s` uploads the rest", _one_line(error), place)

    def _keep_summary(self, run: Any) -> None:
        """The figures of the best validation, in place of the latest."""
        if (path := self._folder / "summary.json").exists():
            run.summary.update(read_json(path))

    def _keep_results(self, run: Any) -> None:
        files = {
            f"{folder.name}/{name}": folder / name
            for _, folder in record_folders(self._folder / "validation")
            for name in (FIGURES, CLASSES, RESULTS)
        }
        self._keep(run, "results", files, kind="results", alias="final")

    def _keep_checkpoints(self, run: Any) -> None:
        for alias in ("last", "best"):
            name = f"{alias}.ckpt"
            self._keep(run, "checkpoint", {name: self._folder / "checkpoints" / name}, kind="model", alias=alias)

    @staticmethod
    def _keep(run: Any, name: str, files: Mapping[str, Path], *, kind: str, alias: str) -> None:
        import wandb

        artifact = wandb.Artifact(f"{name}-{run.id}", type=kind)
        there = {name: path for name, path in files.items() if path.exists()}
        for name, path in there.items():
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)  # no copies in the home folder
        if there:
            run.log_artifact(artifact, aliases=[alias])

    def _keep_files(self, run: Any) -> None:
        for name in _FILES:
            if (self._folder / name).exists():
                copy = shutil.copy(self._folder / name, run.dir)
                run.save(copy, base_path=run.dir, policy="now")

    def _guarded(self, what: str, call: Callable[[Any], object], *, needs_run: bool = True) -> None:
        if needs_run and self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:
            if not self._warned:
                _log.warning(
                    "W&B cannot %s (%s); the training goes on, without more such words", what, _one_line(error)
                )
            self._warned = True


@contextmanager
def wandb_runs(loggers: Sequence[Logger]) -> Iterator[None]:
    """The W&B runs of a training, if it has any, last as long as the block.

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
        media["validation/clips"] = [_image(frame, names) for frame in record.frames]
    if record.film is not None:
        media["validation/film"] = wandb.Video(str(record.film), format="mp4")
    return media


def _image(frame: LabelledFrame, names: Mapping[int, str]) -> Any:
    import wandb

    masks = {"prediction": {"mask_data": frame.labels, "class_labels": dict(names)}}
    return wandb.Image(frame.frame, caption=frame.title, masks=masks)


def _cell(value: str) -> str | float | None:
    """A field of a CSV file; an empty one is a figure that is not defined."""
    try:
        return float(value) if value else None
    except ValueError:
        return value


def _described(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What config.yaml and run.json say."""
    origin = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    return read_config(folder / "config.yaml"), origin


def _run_id(folder: Path, asked: str | None) -> str:
    """The run's id in W&B: the one that is asked for, or it had before, or else a new one."""
    run_id = asked or run_id_of(folder) or secrets.token_hex(4)
    if run_id != run_id_of(folder):
        with atomic_open(folder / RUN_ID_FILE) as handle:
            handle.write(f"{run_id}\n")
    return run_id


def _refused(error: Exception) -> ConfigError:
    return ConfigError(
        f"W&B refuses this run ({_one_line(error)}): log in with `wandb login` or a right WANDB_API_KEY, check "
        "logger.entity and logger.project, or keep the run to this machine with logger.mode=offline"
    )


def _one_line(error: Exception) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return shorten("; ".join(lines) or type(error).__name__, _LONGEST_REASON, placeholder=" ...")
