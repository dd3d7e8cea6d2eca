"""`GROUP=glob(PATTERN)` for groups with folders in them, of which Hydra's own glob sees the direct options only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stmask.errors import ConfigError
from stmask.hydra_private import glob_of, parse
from stmask.signatures import nearest


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
    folders = [root / group for root in roots]
    if patterns is None or not any(folder.is_dir() for folder in folders):
        return text
    include, exclude = ({name for one in kind for name in options(folders, one)} for kind in patterns)
    if not (chosen := sorted(include - exclude)):
        names = [*options(folders, "*"), *sorted({name.rpartition("/")[0] + "/*" for name in options(folders, "*/*")})]
        near = nearest("".join(patterns[0][:1]), [*options(folders, "*/*"), *names])
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(names)}"
        raise ConfigError(f"no option of group {group!r} matches {text.partition('=')[2]}; {hint}")
    return f"{override.get_key_element()}={','.join(chosen)}"


def options(folders: Sequence[Path], pattern: str) -> list[str]:
    """The options of a group's folders that match a pattern, in alphabetical order."""
    relative = "./" + re.sub(r"\*+", "*", pattern)
    found = {file.relative_to(folder).with_suffix("") for folder in folders for file in folder.glob(f"{relative}.yaml")}
    return sorted(path.as_posix() for path in found)
