"""Configurations: where they live, how they are composed and checked, and Hydra as the front of a command.

`conf/` holds Hydra groups. What is a constructor call is a `_target_` node, checked against the constructor's own
signature; the few plain keys at the top are checked against the schemas below.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from stmask.config_check import check_targets
from stmask.config_globs import expand_globs
from stmask.errors import ConfigError, StmaskError
from stmask.files import read_json
from stmask.signatures import nearest

_VERSION_BASE = "1.3"
_CONF_VARIABLE = "STMASK_CONF"
_NESTED = "experiment"  # the group that has folders of options
# options that come with Hydra's plugins, and what of ours installs them
_EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/sweeper/optuna": "search",
}


@dataclass
class TrainSchema:
    """The plain keys of conf/train.yaml; groups are checked by `check_targets` and by what they build."""

    name: str = ""
    seed: int = 0
    deterministic: bool = False
    output_root: str = ""
    output_dir: str = ""
    resume: str | None = None
    init_from: str | None = None
    monitor: str = ""
    total_batch: int | None = None
    reference_batch: int | None = None
    checkpoint_every: int | None = None
    max_skipped_in_a_row: int = 20
    retry_failed: bool = False
    tags: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    model: Any = None
    data: Any = None
    loss: Any = None
    optimizer: Any = None
    scheduler: Any = None
    inference: Any = None
    trainer: Any = None
    logger: Any = None
    records: Any = None


@dataclass
class EvaluateSchema:
    """The plain keys of conf/evaluate.yaml."""

    checkpoint: str = ""
    split: str | None = None
    device: str = ""
    seed: int = 0
    output_root: str = ""
    output: str = ""
    trust: list[str] = field(default_factory=list)
    data: Any = None
    inference: Any = None


SCHEMAS: dict[str, type] = {"train": TrainSchema, "evaluate": EvaluateSchema}


def conf_dir() -> Path:
    """The folder of configurations: `STMASK_CONF`, else the installed package's, else the checkout's.

    Raises:
        ConfigError: `STMASK_CONF` names a folder without train.yaml, or the installation lacks its configurations.
    """
    package = Path(__file__).resolve().parent
    given = os.environ.get(_CONF_VARIABLE)
    places = [Path(given).resolve()] if given else [package / "conf", package.parent / "conf"]
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    raise ConfigError(f"no configurations (train.yaml) in {' or '.join(map(str, places))}; set {_CONF_VARIABLE}")


def compose(config_name: str, overrides: Sequence[str] = (), *, check: bool = True) -> DictConfig:
    """Composes `conf/<config_name>.yaml` with overrides, as the command line does, for notebooks, tests and commands.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type, or a value that is missing; the key is named.
    """
    from hydra.errors import HydraException

    try:
        cfg = _compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, config_name, overrides) or error from error
    return check_config(cfg, config_name) if check else cfg


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    instance = GlobalHydra.instance()
    outer = instance.hydra  # a running Hydra application, which must find its state again
    instance.clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base=_VERSION_BASE):
            return hydra.compose(config_name, list(overrides))
    finally:
        instance.hydra = outer


def check_config(cfg: DictConfig, config_name: str) -> DictConfig:
    """Refuses what a composed configuration can't mean, before anything is built; returns it, typed by its schema.

    Raises:
        ConfigError: a key that is missing, unknown or of a wrong type, named in full.
    """
    for key, node in _walk(cfg):
        if node._is_missing():
            raise ConfigError(f"{key} has no value; give it as {key}=VALUE")
    try:
        if config_name in SCHEMAS:
            cfg = OmegaConf.merge(OmegaConf.structured(SCHEMAS[config_name]), cfg)  # type: ignore[assignment]
        OmegaConf.to_container(cfg, resolve=True)  # every interpolation has an end
        check_targets(cfg)
    except OmegaConfBaseException as error:
        raise explain(error, config_name) or error from error
    return cfg


def run_hydra_app(config_name: str, task: Callable[[DictConfig], Any] | None, argv: Sequence[str]) -> int:
    """Runs `task` as a Hydra application: overrides, --multirun, --cfg, --help, --config-dir, shell completion.

    The task gets the checked configuration; its key `output_dir` (or `output`), where the schema has it, is the
    absolute folder of this run. A run that fails before it wrote anything leaves no folder behind.

    Args:
        config_name: file of `conf/`, without its suffix.
        task: None where only Hydra's own answers are wanted (shell completion).
        argv: arguments after the command's name.

    Raises:
        StmaskError: whatever the user can mend.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode

    invoked = sys.argv
    failures: list[Exception] = []

    def job(cfg: DictConfig) -> Any:
        sys.argv = invoked  # processes that a distributed run starts repeat the whole command
        runtime = HydraConfig.get()
        folder = Path(runtime.runtime.output_dir)
        try:
            for key in {"output_dir", "output"} & set(cfg):
                cfg[key] = str(folder)
            return task(check_config(cfg, config_name)) if task else None
        except Exception as error:
            _discard_empty_run(folder, log=f"{runtime.job.name}.log")
            if runtime.mode == RunMode.MULTIRUN:
                raise  # Hydra reports which job it was and goes on with the others
            failures.append(error)
        return None

    job.__module__ = f"stmask.commands.{config_name}"  # Hydra names the job after it
    app = hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base=_VERSION_BASE)(job)
    try:
        with _hydra_process(["stmask", *_overrides_first(argv, config_name)]):
            app()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, config_name, argv) or error from error
    finally:
        sys.argv = invoked
    if failures:
        raise failures[0]
    return 0


def _overrides_first(argv: Sequence[str], config_name: str) -> list[str]:
    """Hydra's parser wants overrides in one piece; people write `experiment=demo -m seed=0,1`. Globs are expanded."""
    from hydra._internal.utils import get_args_parser

    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            parsed = get_args_parser().parse_intermixed_args(list(argv))
    except SystemExit as exit_:
        if not exit_.code:
            raise
        reason = complaint.getvalue().rpartition("error: ")[2].strip()
        raise ConfigError(f"{reason}; `stmask {config_name} --hydra-help` lists the flags") from None
    flags = list(argv)
    for override in parsed.overrides:
        flags.remove(override)
    roots = [conf_dir(), *([Path(parsed.config_dir)] if parsed.config_dir else [])]
    return [*expand_globs(parsed.overrides, roots), *flags]


@contextmanager
def _hydra_process(argv: list[str]) -> Iterator[None]:
    """Hydra reads `sys.argv`, and lets errors reach its caller only when this variable is set."""
    variable = "HYDRA_FULL_ERROR"
    before = os.environ.get(variable)
    sys.argv, os.environ[variable] = argv, "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _discard_empty_run(folder: Path, *, log: str) -> None:
    """Removes the folder of a run that ended before it began, unless another run is beginning in it."""
    status = folder / "status.json"
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {".hydra", log, ".lock", status.name}:
        if status.exists() and read_json(status).get("state") == "running":
            return
        shutil.rmtree(folder, ignore_errors=True)


def explain(error: Exception, config_name: str = "train", overrides: Sequence[str] = ()) -> StmaskError | None:
    """An error of Hydra or OmegaConf in the words of the user's command line; None where it is no user's error."""
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException

    message = str(error)
    if isinstance(error, MissingConfigException) and (extra := _EXTRAS.get(str(error.missing_cfg_file))):
        return ConfigError(f"{error.missing_cfg_file} needs the extra {extra!r}: pip install 'stmask[{extra}]'")
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return _no_option(group, option, error.options)
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"cannot read the override {error.override!r} ({message.splitlines()[0]}); quote special characters "
            f"for Hydra as well as for the shell: 'key=\"a=b\"'"
        )
    if isinstance(error, InstantiationException):
        return _explain_instantiation(error)
    if found := re.search(r"Could not override '([^']+)'|config group '([^']+)' does not", message):
        return unknown_key(found[1] or found[2], config_name, overrides)
    if isinstance(error, ConfigKeyError) and error.full_key:
        return unknown_key(error.full_key, config_name, overrides)
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(f"{error.full_key} has no value; give it as {error.full_key}=VALUE")
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return ConfigError(f"{error.full_key}: {message.splitlines()[0]}")
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return ConfigError(f"{message.splitlines()[0] if message else cause.full_key}: {str(cause).splitlines()[0]}")
    return ConfigError("; ".join(line.strip() for line in message.splitlines() if line.strip()))


def _no_option(group: str, option: str, options: Sequence[str]) -> ConfigError:
    names, listed = list(options), list(options)
    if group.partition("/")[0] == _NESTED:
        folder = conf_dir() / _NESTED
        group, option = _NESTED, f"{group}/{option}".removeprefix(f"{_NESTED}/")
        if option and (folder / option).is_dir():
            return ConfigError(f"{_NESTED}={option} is a folder; for all in it: -m '{_NESTED}=glob({option}/*)'")
        names += sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("*/*.yaml"))
        listed += sorted(f"{path.name}/.." for path in folder.iterdir() if path.is_dir())
    near = nearest(option, names)
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(listed)}"
    return ConfigError(f"no option {option!r} in group {group!r}; {hint}")


def _explain_instantiation(error: Exception) -> StmaskError | None:
    found = re.search(r"full_key: (\S+)", str(error)) or re.search(r"target '(?:\w+\.)*(\w+)'", str(error))
    key = found[1] if found else "configuration"
    cause = error.__cause__
    if isinstance(cause, StmaskError):
        return type(cause)(f"{key}: {cause}")
    if cause is None:
        return ConfigError(f"{key}: {str(error).splitlines()[0]}")
    plain = isinstance(cause, (ValueError, TypeError, OSError, RuntimeError))
    if plain or type(cause).__name__ == "MisconfigurationException":
        return ConfigError(f"{key}: {cause}")
    return None


def unknown_key(key: str, config_name: str, overrides: Sequence[str] = ()) -> ConfigError:
    """The error for a key or group that a configuration lacks, with the nearest one that it has."""
    if "/" in key:
        root = conf_dir()
        names = [folder.relative_to(root).as_posix() for folder in root.rglob("*") if folder.is_dir()]
        if key in names:
            return ConfigError(
                f"stmask {config_name} has no group {key!r}; `stmask {config_name} --help` lists its keys"
            )
    else:
        names = _known_keys(key, config_name, overrides)
    parent, _, leaf = key.rpartition(".")
    if parent in names and (key in names or not any(name.startswith(f"{parent}.") for name in names)):
        return ConfigError(f"unknown key {key!r}; {parent} is none here, or has no such key")
    siblings = [name.rpartition(".")[2] for name in names if parent and name.rpartition(".")[0] == parent]
    if siblings:
        near = nearest(leaf, siblings)
        hint = f"did you mean '{parent}.{near}'?" if near else f"{parent} has: {', '.join(siblings)}"
    else:
        near = nearest(key, names)
        hint = f"did you mean {near!r}?" if near else f"`stmask {config_name} --help` lists them all"
    return ConfigError(f"unknown key {key!r}; {hint}")


def _known_keys(key: str, config_name: str, overrides: Sequence[str]) -> list[str]:
    """The keys of the configuration without the overrides beside the one that failed, or else as it is by default."""
    from hydra.errors import HydraException

    beside = key.rpartition(".")[0] + "." if "." in key else key
    others = [text for text in overrides if "=" in text and not text.startswith("-") and beside not in text]
    for attempt in (others, []):
        try:
            return [key for key, _ in _walk(_compose(config_name, attempt))]
        except (HydraException, OmegaConfBaseException):
            continue
    return []


def _walk(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Every key of a configuration in full, with its unresolved node; Hydra's own (_target_, ..) left out."""
    for name in (str(name) for name in cfg if not str(name).startswith("_")):
        key, node = prefix + name, cfg._get_node(name)
        assert isinstance(node, Node)
        yield key, node
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation() or node._is_missing()):
            yield from _walk(node, f"{key}.")
