"""Published weights by name: the table of them, and a cache into which they are fetched, verified and kept."""

from stmask.hub.cache import cache_folder, locked
from stmask.hub.fetch import State, fetched, local, path_of, state_of
from stmask.hub.table import PublishedFile, find, names, nearest_name

__all__ = [
    "PublishedFile",
    "State",
    "cache_folder",
    "fetched",
    "find",
    "local",
    "locked",
    "names",
    "nearest_name",
    "path_of",
    "state_of",
]
