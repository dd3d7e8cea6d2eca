from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import stmask.cli
from stmask.commands.parsing import Parser
from stmask.errors import DataError

COMMANDS = sorted(stmask.cli.COMMANDS)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stmask", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Runs a command that raises, through `main`."""

    def call(error: BaseException) -> int:
        def command(argv: list[str]) -> int:
            raise error

        monkeypatch.setattr(stmask.cli, "_command", lambda name: types.SimpleNamespace(main=command))
        return stmask.cli.main(["train"])

    return call


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    check = (
        "import sys; from stmask.cli import main; main(['--help'])\n"
        "assert not {'torch', 'numpy', 'hydra', 'cv2', 'omegaconf'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in ran.stdout.split("commands:")[1].split("examples:")[0].splitlines() if line]
    assert listed == list(stmask.cli.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_no_command_is_a_question(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: stmask")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_summary_and_help(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    summary = stmask.cli._command(name).SUMMARY
    assert summary
    assert "\n" not in summary
    try:
        status = stmask.cli.main([name, "--help"])
    except SystemExit as exit_:  # argparse and Hydra leave this way
        status = exit_.code or 0
    assert status == 0
    assert f"stmask {name}" in capfd.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"stmask {stmask.__version__}\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("trian", "did you mean 'train'?"), ("evalute", "did you mean 'evaluate'?"), ("zzz", "there are: ")],
)
def test_an_unknown_command_names_the_nearest(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.cli.main([name]) == 2
    assert capsys.readouterr().err.startswith(f"stmask: error: unknown command {name!r}; {hint}")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("no such file: train.json"), "no such file: train.json"),
        (DataError("two\nlines"), "two; lines"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/results.json"),
            "the disk is full: /out/results.json (STMASK_TRACEBACK=1 shows where it happened)",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/out"),
            "Permission denied: /out (STMASK_TRACEBACK=1 shows where it happened)",
        ),
    ],
)
def test_users_errors_are_one_line(
    error: Exception, line: str, fail_with: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(error) == 2
    assert capsys.readouterr().err == f"stmask: error: {line}\n"


def test_bugs_keep_their_traceback(fail_with: Callable[[BaseException], int]) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_with(ZeroDivisionError("a bug"))


def test_a_traceback_on_request(fail_with: Callable[[BaseException], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STMASK_TRACEBACK", "1")
    with pytest.raises(DataError):
        fail_with(DataError("no such file"))


def test_an_interrupt_ends_with_130(
    fail_with: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stmask: interrupted\n"


@pytest.mark.parametrize("error", [SystemExit(1), RuntimeError("unexpected end of the file")])
def test_what_follows_an_interrupt_is_the_interrupt(
    error: BaseException, fail_with: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    error.__context__ = KeyboardInterrupt()
    assert fail_with(error) == 130
    assert capsys.readouterr().err == "stmask: interrupted\n"


def test_a_closed_pipe_is_not_an_error() -> None:
    ran = subprocess.run(
        f"{sys.executable} -m stmask --help | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("usage: stmask")
    assert ran.stderr == ""


def test_a_mistyped_key_from_the_shell(tmp_path: Path) -> None:
    ran = run("train", "+sed=3", f"output_root={tmp_path}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "stmask: error: unknown key 'sed'; did you mean 'seed'?\n"
    assert list(tmp_path.rglob("*.yaml")) == []


def test_printing_ends_no_command_where_the_terminal_is_ascii(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    say = "from stmask.console import exit_status; import sys; sys.exit(exit_status(lambda: print('\\u00b2')))"
    ran = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, env={**os.environ, **ascii_only})
    assert (ran.returncode, ran.stdout) == (0, "\\xb2\n")


def test_names_that_are_not_ascii(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert stmask.cli.main(["train", "data.root=caf\udcc3\udca9"]) == 2
    assert "set LC_ALL=C.UTF-8 or PYTHONUTF8=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--optimizer.lr=0.1"],
        ["sweep", "table4", "--optimizer.lr=0.1"],
        ["demo", "--optimizer.lr=0.1"],
        ["predict", "clip.mp4", "--optimizer.lr=0.1"],
    ],
)
def test_overrides_with_hyphens(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.cli.main(argv) == 2
    line = "unknown flag --optimizer.lr=0.1: write optimizer.lr=0.1 (in the command of a W&B sweep: ${args_no_hyphens})"
    assert capsys.readouterr().err == f"stmask: error: {line}\n"


@pytest.mark.parametrize(
    ("argv", "module"),
    [
        (["evaluate", "checkpoint=a.ckpt", "output=out"], "stmask.engine.evaluate"),
        (["predict", ".", "checkpoint=a.ckpt", "output=out.mp4"], "stmask.loading"),
    ],
)
def test_null_reaches_the_tracker(
    argv: list[str], module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}

    def load_segmenter(path: str, *, model: dict[str, object], **_: object) -> None:
        given.update(model)
        raise DataError("seen enough")

    monkeypatch.chdir(tmp_path)
    Path("0.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    monkeypatch.setattr(f"{module}.load_segmenter", load_segmenter)
    assert stmask.cli.main([*argv, "model.tracker.forget_after=null", "model.tracker.weights.label=1"]) == 2
    assert given == {"tracker": {"forget_after": None, "weights": {"label": 1}}}


@pytest.mark.parametrize("word", ["~/a.json", "--json=~/a.json"])
def test_home_in_the_words_of_other_commands(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    parser = Parser()
    parser.add_argument("file", nargs="?")
    parser.add_argument("--json")
    found = parser.parse_args([word])
    assert (found.file or found.json) == "/home/me/a.json"


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("stmask tra", {"train"}),
        ("stmask train model/head/align=n", {"model/head/align=none"}),
        ("stmask train trainer=", {"trainer=cpu", "trainer=ddp", "trainer=default", "trainer=gpu"}),
        ("stmask train model/head/align=ada see", {"seed="}),
        ("stmask evaluate checkp", {"checkpoint="}),
        ("stmask data s", {"show", "split", "synthesize"}),
        ("stmask benchmark ", {"correlation", "data", "inference", "metric", "predict", "train"}),
        ("stmask data show s", set()),
        ("stmask import ", set()),
        ("stmask nothing ", set()),
    ],
)
def test_completion(
    line: str, completions: set[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert stmask.cli.main(["-sc", "query=bash"]) == 0
    assert set(capfd.readouterr().out.split()) == completions


@pytest.mark.parametrize("arguments", [["-sc", "install=bash"], ["train", "--shell-completion", "install=bash"]])
def test_completion_in_a_real_shell(arguments: list[str], tmp_path: Path) -> None:
    script = tmp_path / "stmask"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m stmask "$@"\n')
    script.chmod(0o755)
    session = f"""
        eval "$(stmask {" ".join(arguments)})"
        COMP_LINE='stmask train model/head/align=no' COMP_POINT=33 COMP_CWORD=2 COMP_WORDS=($COMP_LINE)
        hydra_bash_completion
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(["bash", "-c", session], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert ran.stdout.split() == ["model/head/align=none"], ran.stderr
