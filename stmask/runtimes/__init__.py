"""Exported models, run by other runtimes than PyTorch: each module here is one, chosen by a file's ending.

A module has `SUFFIX`; `PACKAGE`, what it needs, and `EXTRA`, what installs that; and `read(path)`, which returns a
`StageFile`. What an exported model consists of is in `stmask.runtimes.files`.
"""

from stmask.runtimes.load import is_exported, load_exported

__all__ = ["is_exported", "load_exported"]
