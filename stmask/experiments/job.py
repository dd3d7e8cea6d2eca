"""`python -m stmask.experiments.job FOLDER`: trains the one job of a folder.

No Hydra application: the processes that Lightning or torchrun start for a distributed job repeat this command, and
each of them reads the same finished configuration.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stmask.console import exit_status
from stmask.engine.run_folder import LOG, is_first_process
from stmask.errors import ConfigError
from stmask.experiments.jobs import read_job

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(argv: Sequence[str]) -> None:
    """Trains the job; what it says goes to the terminal and, from the first process, to train.log."""
    if len(argv) != 1:
        raise ConfigError("usage: python -m stmask.experiments.job FOLDER")
    folder = Path(argv[0])
    cfg, origin = read_job(folder)
    if is_first_process():
        handler = logging.FileHandler(folder / LOG)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger().addHandler(handler)

    from stmask.engine.train import train_and_tell

    train_and_tell(cfg, origin=origin)


if __name__ == "__main__":
    sys.exit(exit_status(partial(main, sys.argv[1:])))
