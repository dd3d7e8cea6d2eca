"""`stmask <command> ...`: finds the command, runs it, and turns what the user can mend into one line on stderr."""

from __future__ import annotations

import difflib
import errno
import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from types import ModuleType

from stmask.errors import StmaskError

# name -> module in stmask.commands; the order is that of `stmask --help`
COMMANDS = {
    "demo": "demo",
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "data": "data",
    "metric": "metric",
    "submit": "submit",
    "import": "import_weights",
    "export": "export",
    "benchmark": "benchmark",
}

_EXAMPLES = """\
examples:
  stmask data synthesize data/synthetic --videos 200 --seed 0
  stmask train experiment=demo
  stmask train data.root=/data/ytvis model/head/align=ada trainer=gpu logger=wandb
  stmask evaluate checkpoint=best.ckpt
  stmask predict clip.mp4 checkpoint=best.ckpt output=out.mp4

  stmask COMMAND --help             the command's own options
  eval "$(stmask -sc install=bash)" completes commands, groups and keys (also zsh and fish)
"""

_USER_ERROR = 2
_INTERRUPTED = 130
_TRACEBACK_VARIABLE = "STMASK_TRACEBACK"
_GREETERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
_EXPECTED_WARNINGS = (
    "Experiment logs directory",  # a run's folder holds its log before Lightning's first line
    r"`isinstance\(treespec, LeafSpec\)`",  # Lightning's own use of torch
    "Checkpoint directory .* exists and is not empty",  # that of the run which goes on
    "The number of training batches",  # fewer than log_every_n_steps: the figures of the epoch are logged anyway
)
_COMPLETION_FLAGS = ("-sc", "--shell-completion", "--shell_completion")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the process's exit status: 0, 2 for the user's errors, 130 when interrupted.

    `STMASK_TRACEBACK=1`, or `--debug` before the command, lets every error through with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--debug"]:
        os.environ[_TRACEBACK_VARIABLE] = "1"
        arguments = arguments[1:]
    _speak_plainly()
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as exit_:  # Lightning's way out of an interrupted training
        if _follows_interrupt(exit_):
            return _interrupted()
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes stdout once more
        return 1
    except Exception as error:
        if _follows_interrupt(error):
            return _interrupted()
        message = None if os.environ.get(_TRACEBACK_VARIABLE) == "1" else _explain(error)
        if message is None:
            raise
        print(f"stmask: error: {'; '.join(message.splitlines())}", file=sys.stderr)
        return _USER_ERROR


def _interrupted() -> int:
    print("stmask: interrupted", file=sys.stderr)
    return _INTERRUPTED


def _follows_interrupt(error: BaseException | None) -> bool:
    """Whether the error is only what closing a file or a process said after Ctrl-C."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _speak_plainly() -> None:
    """Log messages as plain lines on stderr (Hydra adds a file), without greetings, tips and expected warnings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in _GREETERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name in ("-V", "--version"):
        print(f"stmask {version('stmask')}")
        return 0
    if name in _COMPLETION_FLAGS:
        return _complete(arguments)
    return int(_command(name).main(rest) or 0)


def _available() -> dict[str, str]:
    modules = {name: f"stmask.commands.{module}" for name, module in COMMANDS.items()}
    return {name: module for name, module in modules.items() if importlib.util.find_spec(module)}


def _command(name: str) -> ModuleType:
    available = _available()
    if name not in available:
        near = difflib.get_close_matches(name, available, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(available)}"
        raise StmaskError(f"unknown command {name!r}; {hint}")
    return importlib.import_module(available[name])


def _help() -> str:
    available = _available()
    width = max(map(len, available))
    lines = [f"  {name:{width}}  {importlib.import_module(module).SUMMARY}" for name, module in available.items()]
    usage = "usage: stmask [--debug] COMMAND ...\n       stmask --help | --version"
    about = "Video instance segmentation with STMask: one-stage, online, spatially calibrated, temporally fused."
    return "\n".join([usage, "", about, "", "commands:", *lines, "", _EXAMPLES])


def _complete(arguments: list[str]) -> int:
    """Answers Hydra's shell functions, which call `stmask -sc query=SHELL` whatever the subcommand on the line is."""
    from stmask.config import conf_dir, run_hydra_app

    line = os.environ.get("COMP_LINE", "").lstrip()
    query = any("query=" in argument for argument in arguments)
    if not query:
        return run_hydra_app("train", None, arguments)
    program, _, typed = line.partition(" ")
    name, space, rest = typed.lstrip().partition(" ")
    if not space:
        print(*(command for command in _available() if command.startswith(name)))
    elif (conf_dir() / f"{name}.yaml").is_file():
        os.environ["COMP_LINE"] = f"{program} {rest}"
        return run_hydra_app(name, None, arguments)
    return 0


def _explain(error: Exception) -> str | None:
    """One line for what the user can mend; None for what is a mistake of ours and deserves its traceback."""
    if isinstance(error, StmaskError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, ImportError):
        where = f": {error.filename}" if error.filename else ""
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        return f"{what}{where} ({_TRACEBACK_VARIABLE}=1 shows where it happened)"
    kind = type(error)
    if kind.__module__.split(".")[0] in ("hydra", "omegaconf"):
        from stmask.config import explain

        explained = explain(error)
        return None if explained is None else str(explained)
    if kind.__name__ == "MisconfigurationException":  # Lightning's, for a trainer that can't work here
        return f"trainer: {error}"
    if kind.__name__ == "OutOfMemoryError":  # torch's; importing torch to name it would cost seconds
        return f"the device ran out of memory; a smaller batch or image size needs less ({str(error).splitlines()[0]})"
    return None
