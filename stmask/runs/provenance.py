"""What a run was made of: the command, the code and its changes, versions, the machine."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

import stmask
from stmask.errors import DataError
from stmask.files import read_json
from stmask.runs.folder import RECORD, Origin
from stmask.runs.identity import config_hash

_PACKAGES = (
    "stmask", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy",
    "albumentations", "opencv-python-headless", "av", "pycocotools", "wandb",
)  # fmt: skip
_SOURCES = ("*.py", "*.yaml", "*.c")
_GIT_PATIENCE = 20  # seconds, on a slow network disk


def describe(cfg: DictConfig, model: nn.Module, origin: Origin, *, bench: int | None = None) -> dict[str, Any]:
    """What goes to run.json: plain values only.

    Args:
        cfg, model, origin: of the run.
        bench: the version of the synthetic benchmark that it trains on; None: other data.
    """
    return {
        **asdict(origin),
        "hash": config_hash(cfg),
        "seed": cfg.seed,
        "bench": bench,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": _versions(),
        "git": _git(),
        "machine": _machine(),
    }


def threads_beside(checkpoint: Path) -> int | None:
    """The threads that the run in whose folder a checkpoint lies computed with; None where no run says so."""
    try:
        threads = read_json(checkpoint.resolve().parent.parent / RECORD)["machine"]["threads"]
    except (DataError, KeyError, TypeError):
        return None
    return threads if type(threads) is int and threads > 0 else None


def bench_beside(checkpoint: Path) -> int | None:
    """The version of the benchmark that the run around a checkpoint trained on; None where none is said."""
    try:
        version = read_json(checkpoint.resolve().parent.parent / RECORD)["bench"]
    except (DataError, KeyError, TypeError):
        return None
    return version if type(version) is int else None


def code_changes() -> str | None:
    """What the checkout that the package is imported from has besides its commit, as a patch; None without one."""
    root = _checkout()
    return None if root is None else _run_git(root, "diff", "HEAD")


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {**found, "cuda": torch.version.cuda, "cudnn": None if cudnn is None else str(cudnn)}


def _machine() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    threads = torch.get_num_threads()  # of each process; another number may round otherwise
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "gpus": gpus,
    }


def _git() -> dict[str, Any] | None:
    """Commit, whether tracked files were changed, and sources that are not tracked; None without a checkout."""
    root = _checkout()
    commit = None if root is None else _run_git(root, "rev-parse", "HEAD")
    if root is None or commit is None:
        return None
    dirty = bool(_run_git(root, "status", "--porcelain", "--untracked-files=no"))
    untracked = _run_git(root, "ls-files", "--others", "--exclude-standard", "--", *_SOURCES) or ""
    return {"commit": commit.strip(), "dirty": dirty, "untracked": untracked.splitlines()}


def _checkout() -> Path | None:
    """Top of the checkout that has the package among its files; not one that happens to lie around an environment."""
    package = Path(stmask.__file__).resolve()
    top = _run_git(package.parent, "rev-parse", "--show-toplevel")
    if top is None or _run_git(package.parent, "ls-files", "--error-unmatch", package.name) is None:
        return None
    return Path(top.strip())


def _run_git(folder: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        ran = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=_GIT_PATIENCE,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.decode(sys.getfilesystemencoding(), "replace")
