"""The authors' released code and weights: the only package that knows them. QUIRKS.md lists what it reproduces."""

from stmask.official.initialise import InitReport, initialise
from stmask.official.translation import Imported, export, load, read

__all__ = ["Imported", "InitReport", "export", "initialise", "load", "read"]
