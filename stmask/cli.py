"""The `stmask` command: finds the subcommand, runs it, and reports an error that the user can fix in one line."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import ModuleType

from stmask.console import TRACEBACK_VARIABLE, exit_status
from stmask.errors import StmaskError
from stmask.threads import begin

# name -> module in stmask.commands; the order is that of `stmask --help`
COMMANDS = {
    "demo": "demo",
    "train": "train",
    "sweep": "sweep",
    "evaluate": "evaluate",
    "predict": "predict",
    "data": "data",
    "tables": "tables",
    "metric": "metric",
    "report": "report",
    "submit": "submit",
    "weights": "weights",
    "import": "import_weights",
    "export": "export",
    "benchmark": "benchmark",
}

_COMPUTING = frozenset({"demo", "train", "sweep", "evaluate", "predict", "benchmark"})

_EXAMPLES = """\
examples:
  stmask data synthesize data/synthetic --videos 200 --seed 0
  stmask train experiment=demo
  stmask train data=ytvis2019 data.root=/data/ytvis trainer=gpu init_from=coco.ckpt logger=wandb
  stmask sweep table4 data.root=/data/ytvis init_from=coco.ckpt seeds=0,1,2 hydra/launcher=gpus
  stmask evaluate checkpoint=best.ckpt
  stmask predict clip.mp4 checkpoint=best.ckpt output=out.mp4
  stmask predict clip.mp4 checkpoint=STMask_plus_resnet50_ada output=out.mp4     # the authors' weights

  stmask COMMAND --help             the command's own options
  eval "$(stmask -sc install=bash)" completes commands, groups and keys (also zsh and fish)
"""

_AGENT, _TERMINATED = "WANDB_SWEEP_ID", 128 + signal.SIGTERM
_COMPLETION_FLAGS = ("-sc", "--shell-completion", "--shell_completion")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the process's exit status: 0, 2 for the user's errors, 130 when interrupted.

    `STMASK_TRACEBACK=1`, or `--debug` before the command, lets every error through with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--debug"]:
        os.environ[TRACEBACK_VARIABLE] = "1"
        arguments = arguments[1:]
    if argv is None and arguments and arguments[0] in _COMPUTING:  # this process is ours alone
        begin()
    status = exit_status(lambda: _dispatch(arguments))
    if argv is None and status == _TERMINATED and _AGENT in os.environ:
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # for such an agent, another end is a failure of the run,
        os.kill(os.getpid(), signal.SIGTERM)  # and after five of them it gives up the sweep
    return status


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    _require_names(arguments)
    name, rest = arguments[0], arguments[1:]
    if name in ("-V", "--version"):
        print(f"stmask {version('stmask')}")
        return 0
    if name in _COMPLETION_FLAGS:
        return _complete(arguments)
    return int(_command(name).main(rest) or 0)


def _require_names(arguments: list[str]) -> None:
    """Where Python's file system encoding is ASCII, no other file names can be used."""
    unreadable = [word for word in arguments if any("\udc80" <= letter <= "\udcff" for letter in word)]
    if unreadable and sys.getfilesystemencoding() != "utf-8":
        named = os.fsencode(unreadable[0]).decode("utf-8", "backslashreplace")
        raise StmaskError(f"{named}: this Python can only use ASCII file names; set LC_ALL=C.UTF-8 or PYTHONUTF8=1")


def _command(name: str) -> ModuleType:
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}"
        raise StmaskError(f"unknown command {name!r}; {hint}")
    return importlib.import_module(f"stmask.commands.{COMMANDS[name]}")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {_command(name).SUMMARY}" for name in COMMANDS]
    usage = "usage: stmask [--debug] COMMAND ...\n       stmask --help | --version"
    about = "Video instance segmentation with STMask: one-stage, online, spatially calibrated, temporally fused."
    return "\n".join([usage, "", about, "", "commands:", *lines, "", _EXAMPLES])


def _complete(arguments: list[str]) -> int:
    """Answers Hydra's shell completion functions, which call `stmask -sc query=SHELL` for any subcommand."""
    from stmask.commands.family import completions
    from stmask.config import conf_dir, run_hydra_app

    line = os.environ.get("COMP_LINE", "").lstrip()
    query = any("query=" in argument for argument in arguments)
    if not query:
        return run_hydra_app("train", None, arguments)
    program, _, typed = line.partition(" ")
    name, space, rest = typed.lstrip().partition(" ")
    if not space:
        print(*(command for command in COMMANDS if command.startswith(name)))
    elif (conf_dir() / f"{name}.yaml").is_file():
        os.environ["COMP_LINE"] = f"{program} {rest}"
        return run_hydra_app(name, None, arguments)
    elif COMMANDS.get(name) == name:
        print(*completions(name, rest))
    return 0
