"""`stmask weights get NAME ...`: fetches published weights into the cache."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser
from stmask.commands.weights_list import complete as complete

SUMMARY = "fetch published weights into the cache, and print where they are"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask weights get --help`."""
    parser = Parser(
        prog="stmask weights get",
        description="Fetches weights by name, where they are not in the cache yet, verifies them, and prints their "
        "paths. What was cut off is gone on with. STMASK_CACHE=FOLDER is another cache, and STMASK_MIRROR=ADDRESS (or "
        "a folder) another place to fetch from.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="see `stmask weights list`")
    options = parser.parse_args(argv)

    from stmask import hub

    for name in options.names:
        hub.find(name)  # a misspelt name is told before the first is fetched
    for name in options.names:
        print(hub.fetched(name))
    return 0
