"""Errors for the user: one line that names the file, key or value, and the way out.

The command line prints them without a traceback and exits with status 2. Library users catch `StmaskError`.
"""

from collections.abc import Sequence

INTERRUPTED = 130  # exit status of a process that Ctrl-C ended


def one_line(text: object) -> str:
    """What an error says, however many lines it has."""
    return "; ".join(line.strip() for line in str(text).splitlines() if line.strip())


class StmaskError(Exception):
    """Base of every error caused by the user's input."""


class ConfigError(StmaskError):
    """A configuration key or value that cannot work."""


class ErrorList(ConfigError):
    """Several errors at once, as the jobs of a sweep have: a heading, and a line for each.

    Args:
        heading: what they have in common.
        errors: one line each.
    """

    def __init__(self, heading: str, errors: Sequence[str]) -> None:
        super().__init__("\n  ".join([f"{heading}:", *map(one_line, errors)]))


class DataError(StmaskError):
    """A dataset file, an annotation or a frame that is missing or broken."""


class CheckpointError(StmaskError):
    """A file that is not a usable checkpoint, or one of another network."""


class DownloadError(StmaskError):
    """A file that could not be fetched, or that is not the one that was asked for."""


class OutputError(StmaskError):
    """A path that cannot be written to."""


class Interrupted(SystemExit):
    """A run was told to stop and can be resumed; `code` is the exit status of its process.

    Not an error: it passes through all error handling and ends the process as a signal would.
    """
