"""`stmask train`: a Hydra application over conf/train.yaml."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUMMARY = "train a network from GROUP=OPTION and KEY=VALUE overrides"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask train --help`."""
    from stmask.config import run_hydra_app

    return run_hydra_app("train", _train, argv)


def _train(cfg: DictConfig) -> float | None:
    """Returns the monitored metric, which is what a sweeper optimises."""
    from stmask.engine.train import train

    figures = train(cfg)
    best = figures.get(cfg.monitor)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one process speaks for all
        result = "" if best is None else f", best {cfg.monitor} {best:.4f}"
        logging.getLogger(__name__).info("trained in %.0f s%s: %s", figures["train_seconds"], result, cfg.output_dir)
    return best
