"""`stmask weights verify [NAME ...]`: compares the files in the cache with their SHA-256."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser
from stmask.commands.weights_list import complete as complete

SUMMARY = "compare the weights in the cache with their SHA-256"
_MEANINGS = {
    "verified": "the SHA-256 is the one that its authors published",
    "recorded": "the SHA-256 is the one of its first use; its authors published none",
    "absent": "not in the cache",
}


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask weights verify --help`.

    Raises:
        DownloadError: a file that has another SHA-256.
    """
    parser = Parser(
        prog="stmask weights verify",
        description="Compares each file in the cache with the SHA-256 that its authors published, or else with the one "
        "that was recorded at its first use. Exit status 2 if any differs.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone; default all that are in the cache")
    options = parser.parse_args(argv)

    from stmask import hub
    from stmask.errors import DownloadError

    files = [hub.find(name) for name in options.names or hub.names()]
    if not options.names:
        files = [file for file in files if hub.path_of(file).exists()]
    different = []
    for file in files:
        state = hub.state_of(file)
        if state == "different":
            different.append(str(hub.path_of(file)))
        print(f"{file.name}: {_MEANINGS.get(state, 'DIFFERENT')}")
    if not files:
        print(f"nothing to verify in {hub.cache_folder()}")
    if different:
        raise DownloadError(f"not what was fetched: {', '.join(different)}; remove it, and it is fetched again")
    return 0
