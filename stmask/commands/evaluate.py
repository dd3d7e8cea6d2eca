"""`stmask evaluate`: a Hydra application over conf/evaluate.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUMMARY = "evaluate a checkpoint: results.json, AP, AR and a table of classes"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask evaluate --help`."""
    from stmask.config import run_hydra_app

    return run_hydra_app("evaluate", _evaluate, argv)


def _evaluate(cfg: DictConfig) -> None:
    from stmask.engine.evaluate import evaluate
    from stmask.engine.evaluate_splits import evaluate_splits, split_names

    names = split_names(cfg.split)
    if names is None:
        evaluate(cfg)
    else:
        evaluate_splits(cfg, names)
