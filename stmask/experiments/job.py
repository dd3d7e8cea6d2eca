"""`python -m stmask.experiments.job FOLDER`: trains the one job of a folder.

No Hydra application: the processes that Lightning or torchrun start for a distributed job repeat this command, and
each of them reads the same finished configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stmask.console import exit_status
from stmask.errors import ConfigError
from stmask.experiments.jobs import read_job


def main(argv: Sequence[str]) -> None:
    """Trains the job."""
    if len(argv) != 1:
        raise ConfigError("usage: python -m stmask.experiments.job FOLDER")
    cfg, origin = read_job(Path(argv[0]))

    from stmask.engine.train import train

    train(cfg, origin=origin)


if __name__ == "__main__":
    sys.exit(exit_status(partial(main, sys.argv[1:])))
