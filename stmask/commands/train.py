"""`stmask train`: a Hydra application over conf/train.yaml."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from stmask.engine.run_folder import Origin

SUMMARY = "train a network from GROUP=OPTION and KEY=VALUE overrides"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask train --help`."""
    from stmask.config import run_hydra_app
    from stmask.experiments.launcher import register

    register()
    return run_hydra_app("train", _train, argv)


def _train(cfg: DictConfig) -> float | None:
    """Returns the monitored metric, which is what a sweeper optimises."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.get().mode == RunMode.MULTIRUN:  # our own launchers never come here
        from stmask.experiments.launcher import train_as_process

        return train_as_process(cfg)

    from stmask.engine.train import train

    figures = train(cfg, origin=_origin())
    best = figures.get(cfg.monitor)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one process speaks for all
        result = "" if best is None else f", best {cfg.monitor} {best:.4f}"
        logging.getLogger(__name__).info("trained in %.0f s%s: %s", figures["train_seconds"], result, cfg.output_dir)
    return best


def _origin() -> Origin:
    from hydra.core.hydra_config import HydraConfig

    from stmask.engine.run_folder import Origin

    hydra = HydraConfig.get()
    experiment = hydra.runtime.choices.get("experiment")
    first = str(experiment).partition("/")[0]
    return Origin(
        command=("stmask", *sys.argv[1:]),
        overrides=tuple(hydra.overrides.task),
        experiment=None if experiment in (None, "none") else str(experiment),
        table=first if first.startswith("table") else None,
    )
