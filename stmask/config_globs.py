"""`GROUP=glob(PATTERN)` for groups with folders in them, of which Hydra's own glob sees the direct options only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from stmask.errors import ConfigError
from stmask.hydra_private import glob_of, parse


def expand_globs(overrides: Sequence[str], roots: Sequence[Path]) -> list[str]:
    """Replaces each glob over a group by the options that it means, in alphabetical order; `*` stops at a `/`.

    Args:
        overrides: of the command line.
        roots: folders of configurations.

    Raises:
        ConfigError: a pattern that no option of its group matches.
    """
    return [_expanded(override, roots) if "glob(" in override else override for override in overrides]


def _expanded(text: str, roots: Sequence[Path]) -> str:
    from hydra.errors import HydraException

    try:
        override = parse(text)
    except HydraException:
        return text  # Hydra will say what is wrong
    group, patterns = override.key_or_group, glob_of(override.value())
    options = sorted({option for root in roots for option in _options(root / group)})
    if patterns is None or not options:
        return text
    include, exclude = patterns
    chosen = [name for name in options if _matches(name, include) and not _matches(name, exclude)]
    if not chosen:
        folders = {name.rpartition("/")[0] + "/*" for name in options if "/" in name}
        near = difflib.get_close_matches("".join(include[:1]), [*options, *sorted(folders)], n=1)
        direct = [name for name in options if "/" not in name]
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join([*direct, *sorted(folders)])}"
        raise ConfigError(f"no option of group {group!r} matches {text.partition('=')[2]}; {hint}")
    return f"{override.get_key_element()}={','.join(chosen)}"


def _options(folder: Path) -> list[str]:
    return [file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    parts = name.split("/")
    return any(
        len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        for wanted in (pattern.split("/") for pattern in patterns)
    )
