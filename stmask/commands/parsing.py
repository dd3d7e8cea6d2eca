"""The options of commands that are no Hydra applications."""

from __future__ import annotations

import argparse
from typing import NoReturn

from stmask.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError with what is wrong and where the options are listed."""
        raise ConfigError(f"{message}; see {self.prog} --help")
