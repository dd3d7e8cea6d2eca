"""Packages that only some commands need, and the extras of stmask that install them (docs/install.md)."""

from __future__ import annotations

import importlib.util
import sys

from stmask.errors import ConfigError

DISTRIBUTION = __name__.partition(".")[0].replace("_", "-")
"""What pip knows this package as: the metric is also one of its own (packages/vis-metric)."""
EXTRA_OF = {  # by the name under which a package is imported
    "albumentations": "train",
    "matplotlib": "plots",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "pytorch_lightning": "train",
    "scipy": "train",
    "supervision": "supervision",
    "tensorboard": "tensorboard",
    "torchmetrics": "train",
    "wandb": "wandb",
}


def missing(error: BaseException | None) -> str | None:
    """What to install, in one line, if the error says that such a package is not there; else None."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return _line(name) if name in EXTRA_OF else None


def require(package: str, *, what: str) -> None:
    """Asks for a package before it is used, so that nothing is begun without it.

    Args:
        what: needs it, for the message.

    Raises:
        ConfigError: it is not installed; the line says how to install it.
    """
    if package in sys.modules:
        there = sys.modules[package] is not None
    else:
        there = importlib.util.find_spec(package) is not None
    if not there:
        raise ConfigError(f"{what} {_line(package)}")


def _line(package: str) -> str:
    return f"needs {package}, which is not installed: pip install '{DISTRIBUTION}[{EXTRA_OF[package]}]'"
