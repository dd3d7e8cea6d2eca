"""Configurations: where they live, how they are composed and checked, and Hydra as the front of a command.

`conf/` holds Hydra groups. What is a constructor call is a `_target_` node, checked against the constructor's own
signature; the few plain keys at the top are checked against the schemas below.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException

from stmask.config_check import check_fields, check_list_groups, check_ranges, check_targets, leaves
from stmask.config_folders import discard_empty_folder, discarding_empty_folders
from stmask.config_globs import expand_globs, options
from stmask.config_help import help_text
from stmask.config_overrides import argument, as_hydra_reads, in_brackets, quoted
from stmask.config_paths import expand_home
from stmask.config_schemas import LIST_GROUPS, OVERLAYS, SCHEMAS, groups, keys, lists_of, text_keys
from stmask.config_sources import with_sources
from stmask.errors import ConfigError, StmaskError, one_line
from stmask.extras import missing
from stmask.files import at_home
from stmask.hydra_private import flag_parser, set_aside
from stmask.signatures import nearest

_VERSION_BASE = "1.3"
_CONF_VARIABLE = "STMASK_CONF"
_FULL_ERROR = "HYDRA_FULL_ERROR"  # only with it Hydra lets errors reach its caller
_NO_OPTION = "none"
_NESTED = "experiment"  # the group that has folders of options
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # Lightning reads them when it is imported
_ADDING = "++"  # before a key: it is set whether it is there or not
_SWEEPING = re.compile(r"\+*hydra\.mode=.*MULTIRUN|search=(?!none$)")
_HELP = {"-h", "--help"}
_HYPHENATED = re.compile(r"--[\w./@+-]+=")
_SEARCHING = re.compile(r"search=(?!none$)|\+*hydra/sweeper=")
_KEY_OF_A_GROUP = re.compile(r"(?!hydra\.)\w+\.[\w.$-]+=", re.ASCII)
# options that come with Hydra's plugins, and what of ours installs them
_EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/sweeper/optuna": "search",
}


def conf_dir() -> Path:
    """The folder of configurations: `STMASK_CONF`, else the installed package's, else the checkout's.

    Raises:
        ConfigError: `STMASK_CONF` names a folder without train.yaml, or the installation lacks its configurations.
    """
    package = Path(__file__).resolve().parent
    given = os.environ.get(_CONF_VARIABLE)
    places = [Path(at_home(given)).resolve()] if given else [package / "conf", package.parent / "conf"]
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    raise ConfigError(f"no configurations (train.yaml) in {' or '.join(map(str, places))}; set {_CONF_VARIABLE}")


def compose(config_name: str, overrides: Sequence[str] = (), *, check: bool = True) -> DictConfig:
    """Composes `conf/<config_name>.yaml` with overrides, as the command line does, for notebooks, tests and commands.

    Raises:
        ConfigError: an unknown key, group or option, a wrong type, a number out of its range, or a value that is
            missing; the key is named.
    """
    cfg = _composed(config_name, overrides)
    return check_config(cfg, config_name) if check else cfg


def _composed(config_name: str, overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    import hydra
    from hydra.errors import HydraException

    overrides = _prepared(overrides, config_name)
    try:
        with set_aside(), hydra.initialize_config_dir(str(conf_dir()), version_base=_VERSION_BASE):
            return hydra.compose(config_name, overrides, return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, config_name) or error from error


def check_config(cfg: DictConfig, config_name: str) -> DictConfig:
    """Refuses what a composed configuration can't mean, before anything is built; returns it, typed by its schema.

    `~` at the beginning of its paths has become the home folder.

    Raises:
        ConfigError: a key that is missing, unknown, of a wrong type or out of its range, named in full.
    """
    for key, value in leaves(OmegaConf.to_container(cfg)):
        if value == "???":
            raise ConfigError(f"{key} has no value; give it as {key}=VALUE")
    schema = SCHEMAS[config_name]
    try:
        for name in sorted(map(str, cfg), key=groups(config_name).__contains__):  # errors of plain keys first
            if OmegaConf.is_config(value := cfg[name]):
                OmegaConf.to_container(value, resolve=True)  # every interpolation has an end
        expand_home(cfg)
        values = plain(cfg)
        check_fields(schema, values)
        cfg = OmegaConf.merge(OmegaConf.structured(schema), cfg)  # type: ignore[assignment]
        check_list_groups(values, LIST_GROUPS)
        check_targets(values)
        check_ranges(values)
    except OmegaConfBaseException as error:
        raise explain(error, config_name) or error from error
    return cfg


def plain(cfg: Any) -> dict[str, Any]:
    """A part of a configuration as plain dicts, lists and values."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def without_config_dir(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line without `--config-dir FOLDER`, and what that means as overrides for `compose`.

    Raises:
        ConfigError: there is no such folder.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir")
    try:
        options, rest = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError("--config-dir needs a folder") from error
    if options.config_dir is None:
        return rest, []
    folder = Path(at_home(options.config_dir)).absolute()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {options.config_dir}: there is no such folder")
    return rest, [f"hydra.searchpath=[{quoted(f'file://{folder}')}]"]


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
    if _HELP.intersection(argv):
        return _print_help(config_name, argv)
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode

    for name in _RANKS:
        if not re.fullmatch(r"\d+", os.environ.get(name, "0"), re.ASCII):
            raise ConfigError(
                f"the variable {name} must be the number of a process, got {os.environ[name]!r}: unset {name}"
            )
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
            discard_empty_folder(folder, log=f"{runtime.job.name}.log")
            if runtime.mode == RunMode.MULTIRUN:
                raise  # Hydra reports which job it was and goes on with the others
            failures.append(_with_sources(error, cfg, config_name) if type(error) is ConfigError else error)
        return None

    job.__module__ = f"stmask.commands.{config_name}"  # Hydra names the job after it
    app = hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base=_VERSION_BASE)(job)
    full_error = os.environ.get(_FULL_ERROR)
    try:
        sys.argv = ["stmask", *_overrides_first(argv, config_name)]  # which Hydra reads
        os.environ[_FULL_ERROR] = "1"
        with discarding_empty_folders(log=f"{config_name}.log"):
            app()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, config_name) or error from error
    finally:
        sys.argv = invoked
        os.environ.pop(_FULL_ERROR, None)
        os.environ.update({} if full_error is None else {_FULL_ERROR: full_error})
    if failures:
        raise failures[0]
    return 0


def _print_help(config_name: str, argv: Sequence[str]) -> int:
    rest, places = without_config_dir(argv)
    parsed = _parsed(rest, config_name)
    cfg = _composed(config_name, [*places, *parsed.overrides], with_hydra=True)
    print(help_text(cfg, resolve=parsed.resolve))
    return 0


def _with_sources(error: ConfigError, cfg: DictConfig, config_name: str) -> ConfigError:
    """The same error, which says of keys that contradict each other where their values come from."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task
    told = ConfigError(with_sources(str(error), cfg, config_name=config_name, overrides=given))
    told.__cause__ = error
    return told


def _overrides_first(argv: Sequence[str], config_name: str) -> list[str]:
    """Hydra's parser wants overrides in one piece; people write `experiment=demo -m seed=0,1`. Globs are expanded."""
    parsed = _parsed(argv, config_name)
    modes = {"-m": parsed.multirun, "--cfg": parsed.cfg, "--info": parsed.info, "-sc": parsed.shell_completion}
    if len(given := [flag for flag, value in modes.items() if value]) > 1:
        raise ConfigError(f"{' and '.join(given)} don't go together: give one of them")
    flags = list(argv)
    for override in parsed.overrides:
        flags.remove(override)
    roots = [conf_dir(), *([Path(at_home(parsed.config_dir))] if parsed.config_dir else [])]
    sweep = parsed.multirun or any(_SWEEPING.match(override) for override in parsed.overrides)
    overrides = _prepared(expand_globs(parsed.overrides, roots), config_name, sweep=sweep)
    return [*overrides, *(re.sub(r"^(-[\w-]+=)?(~.*)", lambda m: (m[1] or "") + at_home(m[2]), flag) for flag in flags)]


def _parsed(argv: Sequence[str], config_name: str) -> argparse.Namespace:
    """A command line by Hydra's own parser, and its errors in our words."""
    parser = flag_parser()

    def refuse(reason: str) -> NoReturn:
        if unknown := [word for word in argv if _HYPHENATED.match(word) and word.partition("=")[0] in reason]:
            raise ConfigError(hyphenated(unknown[0]))
        raise ConfigError(f"{reason}; `stmask {config_name} --hydra-help` lists the flags")

    parser.error = refuse  # type: ignore[assignment, method-assign]
    return parser.parse_intermixed_args(list(argv))


def _prepared(overrides: Sequence[str], config_name: str, *, sweep: bool = False) -> list[str]:
    """Overrides for Hydra. What it has no words for is refused: a key that is empty, a group without an option.

    A key below a group is set whether it is there or not: `check_config` says which are unknown.
    """
    overrides = [in_brackets(override, lists_of(config_name)) for override in overrides]
    readable = as_hydra_reads(overrides, texts=text_keys(config_name), sweep=sweep)
    overlaid = tuple(part + sign for part in OVERLAYS.get(config_name, ()) for sign in "/=")
    readable = [f"+{text}" if text.startswith(overlaid) else text for text in readable]
    if not any(map(_SEARCHING.match, readable)):  # whose sweeper compares keys with those of its `params`
        readable = [f"{_ADDING}{text}" if _KEY_OF_A_GROUP.match(text) else text for text in readable]
    readable = [_with_no_option(text) for text in readable]
    for override in readable:
        key, equals, value = override.partition("=")
        folder = conf_dir() / key.lstrip("+").partition("@")[0]
        if equals and not key.lstrip("+~"):
            raise _unreadable(override, "")
        if equals and re.fullmatch(r"null|true|false|[+-]?[\d.]+", value, re.IGNORECASE) and folder.is_dir():
            raise _no_option(key.lstrip("+"), value, sorted(file.stem for file in folder.glob("*.yaml")))
    return readable


def _with_no_option(override: str) -> str:
    """`GROUP=null` and `GROUP=[]` are GROUP=none, where there is that option."""
    group, _, value = override.partition("=")
    nothing = value.lower() in ("null", "[]") and (conf_dir() / group / f"{_NO_OPTION}.yaml").is_file()
    return f"{group}={_NO_OPTION}" if nothing else override


def as_typed(overrides: Sequence[str]) -> tuple[str, ...]:
    """What Hydra says that its overrides were, as they stand on a command line."""
    return tuple(override.removeprefix(_ADDING) for override in overrides)


def hyphenated(word: str) -> str:
    """What is wrong with an override that looks like a flag."""
    return f"unknown flag {word}: write {word.lstrip('-')} (in the command of a W&B sweep: ${{args_no_hyphens}})"


def explain(error: Exception, config_name: str = "train") -> StmaskError | None:
    """An error of Hydra or OmegaConf in the words of the user's command line; None where it is not the user's."""
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException

    message = re.sub(r"(^|[ '])\+\+", r"\1", str(error))  # which we have added, see `_prepared`
    if found := re.match(r"ConfigError raised while resolving interpolation: (.*)", message):
        return ConfigError(found[1])
    if isinstance(error, MissingConfigException) and (extra := _EXTRAS.get(str(error.missing_cfg_file))):
        return ConfigError(f"{error.missing_cfg_file} needs the extra {extra!r}: pip install 'stmask[{extra}]'")
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return _no_option(group, option, error.options)
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):  # one in a list of options
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return _no_option(group, option, options([conf_dir() / group], "*"))
    if isinstance(error, OverrideParseException):
        return _unreadable((error.override or "").removeprefix(_ADDING), message.splitlines()[0])
    if isinstance(error, InstantiationException):
        return _explain_instantiation(error)
    if found := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", message):
        key, value = found[1], found[2]
        ways = f"-m {key}={value} is a run for each, {key}=[{value}] a list, {argument(key, value)} a text"
        return ConfigError(f"{key}={value} has several values: {ways}")
    if found := re.search(r"Could not override '([^']+)'|config group '([^']+)' does not", message):
        return _unknown_key(found[1] or found[2], config_name)
    if isinstance(error, ConfigAttributeError) and error.full_key:
        return ConfigError(f"{error.full_key}: there is no such key, or ~{error.full_key} has taken it away")
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return ConfigError(f"{error.full_key}: {message.splitlines()[0]}")
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return ConfigError(f"{message.splitlines()[0] if message else cause.full_key}: {str(cause).splitlines()[0]}")
    return ConfigError(one_line(message))


def _unreadable(override: str, reason: str) -> ConfigError:
    key, equals, value = override.partition("=")
    if not equals:
        return ConfigError(f"cannot read {override!r}; overrides have the form KEY=VALUE, GROUP=OPTION or ~KEY")
    if not re.fullmatch(r"\+{0,2}[\w./@:$-]+", key, re.ASCII):
        return ConfigError(f"cannot read the override {override!r}: {key!r} is not a key")
    return ConfigError(f"cannot read the override {override!r} ({reason}); as a text: {argument(key, value)}")


def _no_option(group: str, option: str, direct: Sequence[str]) -> ConfigError:
    names, listed = list(direct), list(direct)
    if group.partition("/")[0] == _NESTED:
        folder = conf_dir() / _NESTED
        group, option = _NESTED, f"{group}/{option}".removeprefix(f"{_NESTED}/")
        if option and (folder / option).is_dir():
            return ConfigError(f"{_NESTED}={option} is a folder; for all in it: -m '{_NESTED}=glob({option}/*)'")
        names += options([folder], "*/*")
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
    if needed := missing(cause):
        return ConfigError(f"{key} {needed}")
    plain = isinstance(cause, (ValueError, TypeError, OSError, RuntimeError, ImportError))
    if plain or type(cause).__name__ == "MisconfigurationException":
        return ConfigError(f"{key}: {one_line(cause)}")
    return None


def _unknown_key(key: str, config_name: str) -> ConfigError:
    """The error for a key or group that a configuration lacks, with the nearest one that it has."""
    help_ = f"`stmask {config_name} --help` lists"
    if key in groups(config_name):
        return ConfigError(f"{key} has keys of its own: give {key}=OPTION, or {key}.KEY=VALUE for one of them")
    names = keys(config_name)
    if "/" in key:
        names = [folder.relative_to(conf_dir()).as_posix() for folder in conf_dir().rglob("*") if folder.is_dir()]
        if key in names:
            return ConfigError(f"stmask {config_name} has no group {key!r}; {help_} its keys")
    near = nearest(key, names)
    return ConfigError(f"unknown key {key!r}; {f'did you mean {near!r}?' if near else f'{help_} them all'}")
