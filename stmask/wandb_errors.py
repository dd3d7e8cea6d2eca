"""What the errors of W&B mean."""

from __future__ import annotations

import re
from textwrap import shorten

from stmask.errors import one_line

_REFUSALS = re.compile(r"not logged in|api.?key|permission|denied|unauthori|forbidden|not f(ou|i)nd|\b40[134]\b", re.I)
_LONGEST_REASON = 200  # letters of what W&B says went wrong


def is_refusal(error: Exception) -> bool:
    """Whether W&B refuses the key, the entity or the project; other errors are of the network or its service."""
    from wandb.errors import AuthenticationError, CommError, UsageError

    said = isinstance(error, (CommError, ValueError)) and _REFUSALS.search(str(error))
    return bool(said) or isinstance(error, (AuthenticationError, UsageError))


def reason(error: Exception) -> str:
    """What an error of W&B says, in one line that is not too long."""
    said = one_line(error).replace(".;", ";").rstrip(".")
    return shorten(said or type(error).__name__, _LONGEST_REASON, placeholder=" ...")
