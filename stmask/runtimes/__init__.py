"""Exported models, run by other runtimes than PyTorch: each module here is one, chosen by a file's ending.

A module has `SUFFIX` and `read(path)`, which returns a `StageFile`; the package that it needs is in `stmask.extras`.
What an exported model consists of is in `stmask.runtimes.files`.
"""

from stmask.runtimes.load import is_exported, load_exported

__all__ = ["is_exported", "load_exported"]
