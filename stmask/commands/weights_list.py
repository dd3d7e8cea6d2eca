"""`stmask weights list [NAME ...]`: the table of published weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from stmask.hub import PublishedFile

SUMMARY = "list the published weights; of those that are named, all that is known"
_UNREAD = " (not read by stmask yet)"
_WAYS = {"checkpoint": "checkpoint=", "init_from": "init_from=", "backbone": "model.backbone.weights="}


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask weights list --help`."""
    parser = Parser(
        prog="stmask weights list",
        description="Lists the published weights that can be asked for by name. A * marks those that are in the cache.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="tell more of these alone")
    options = parser.parse_args(argv)

    from stmask import hub

    if options.names:
        print("\n\n".join(_description(hub.find(name)) for name in options.names))
        return 0
    files = [hub.find(name) for name in hub.names()]
    width = max(len(file.name) for file in files)
    for file in files:
        here, unread = hub.path_of(file).exists(), "" if file.serves else _UNREAD
        print(f"{'*' if here else ' '} {file.name:<{width}}  {_size(file):>8}  {file.about}{unread}")
    print(f"\nin the cache (*): {hub.cache_folder()}")
    print("stmask weights list NAME tells address, licence and SHA-256; stmask weights get NAME fetches")
    return 0


def complete(words: Sequence[str]) -> list[str]:
    """The arguments that may come last, for shells."""
    from stmask import hub

    return [name for name in hub.names() if name.startswith(words[-1]) and name not in words[:-1]]


def _size(file: PublishedFile) -> str:
    """Of the file that is here, or as its authors state it."""
    from stmask import hub

    path = hub.path_of(file)
    if path.exists():
        return f"{path.stat().st_size / 1e6:.1f} MB"
    return f"{file.megabytes} MB" if file.megabytes else "-"


def _description(file: PublishedFile) -> str:
    from stmask import hub

    path = hub.path_of(file)
    usage = ", ".join(f"{_WAYS[way]}{file.name}" for way in file.serves)
    known = file.sha256 if len(file.sha256) == 64 else f"begins with {file.sha256}"
    facts = {
        "network": file.about,
        "use": usage or "stmask does not read it yet",
        "address": file.address,
        "tried": file.tried or "never: the address is the authors' own, and was not reachable where this was written",
        "size": _size(file),
        "SHA-256": known if file.sha256 else "not published: recorded at the first use",
        "licence": file.licence,
        "file": f"{path}{'' if path.exists() else ' (not fetched yet)'}",
    }
    if file.warning:
        facts["warning"] = file.warning
    width = max(map(len, facts))
    return "\n".join([file.name, *(f"  {fact:<{width}}  {value}" for fact, value in facts.items())])
