"""`stmask train`: a Hydra application over conf/train.yaml."""

from __future__ import annotations

import sys
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
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:  # our own launchers never come here
        from stmask.experiments.launcher import train_as_process

        return train_as_process(cfg)

    from stmask.engine.train import train
    from stmask.experiments.jobs import origin_of

    experiment = hydra.runtime.choices.get("experiment")
    command = ("stmask", *sys.argv[1:])
    origin = origin_of(command=command, overrides=hydra.overrides.task, experiment=experiment)
    return train(cfg, origin=origin).get(cfg.monitor)
