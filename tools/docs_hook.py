"""What the site is made of besides docs/ and mkdocs.yml: pages from elsewhere in the repository, and the API reference.

The site has the paths of the repository, so that a relative link is the same in a checkout and on the site, and mkdocs
checks it. The reference has a page for each package that lists its public names in `__all__`; a package that is added
or moved needs nothing here. Modules are read by griffe, not imported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE_DOCS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "experiments/README.md",
    "experiments/*/README.md",
    "experiments/*/table.md",
    "experiments/*/*.csv",
    "experiments/*/*.png",
    "notebooks/README.md",
    "packages/*/README.md",
    "stmask/official/*.md",
)

# Docstrings describe several parameters or fields at once: "    height, width: of the frame in pixels."
SHARED_ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.MULTILINE)

log = get_plugin_logger("reference")


class OneEntryEach(griffe.Extension):
    """Gives each name of a shared entry a row of its own, with its own type."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring before it is parsed."""
        if obj.docstring:
            obj.docstring.value = SHARED_ENTRY.sub(
                lambda entry: "\n".join(f"{entry[1]}{name}: {entry[3]}" for name in entry[2].split(", ")),
                obj.docstring.value,
            )


def packages(module: griffe.Module) -> Iterator[griffe.Module]:
    """The module and what is below it, as far as it has an `__all__`; parents come first."""
    if module.exports is not None:
        yield module
    for _, member in sorted(module.members.items()):
        if isinstance(member, griffe.Module):
            yield from packages(member)


def exported(package: griffe.Module) -> dict[str, griffe.Object]:
    """The objects that the `__all__` of a package names, under the paths at which they are defined."""
    found = {}
    for name in sorted(map(str, package.exports or ())):
        try:
            member = package.members[name]
            target = member.final_target if isinstance(member, griffe.Alias) else member
        except (KeyError, griffe.AliasResolutionError):
            log.warning("%s: __all__ names %s, which is defined nowhere", package.path, name)
            continue
        found[target.path] = target
    return found


def described(item: griffe.Class) -> Iterator[tuple[str, bool]]:
    """The public methods and properties of a class, and whether its docstring or their own says what they are."""
    own = item.docstring.value if item.docstring else ""
    for name, member in item.members.items():
        if not name.startswith("_") and (isinstance(member, griffe.Function) or "property" in member.labels):
            yield name, member.has_docstring or re.search(rf"^ +{name}: ", own, re.MULTILINE) is not None


def undocumented(items: Collection[griffe.Object]) -> Iterator[str]:
    """Paths of what nothing describes. What a Protocol among the items describes, the others need not repeat."""
    classes = [item for item in items if isinstance(item, griffe.Class)]
    protocols = [item for item in classes if "Protocol" in map(str, item.bases)]
    promised = {name for protocol in protocols for name, done in described(protocol) if done}
    yield from (item.path for item in items if not item.has_docstring)
    for item in classes:
        yield from (f"{item.path}.{name}" for name, done in described(item) if not done and name not in promised)


def reference(root: Path) -> dict[str, str]:
    """Name of each documented package -> its page. An object is shown once, where it first comes up; then linked."""
    pages, shown = {}, set()
    top = griffe.load("stmask", search_paths=[root], allow_inspection=False)
    assert isinstance(top, griffe.Module)
    for package in packages(top):
        if not package.has_docstring:
            log.warning("%s has no docstring", package.path)
        lines = [f"# {package.path}", "", package.docstring.value if package.docstring else "", ""]
        items = exported(package)
        for path in undocumented(items.values()):
            log.warning("%s has no docstring", path)
        for path, item in items.items():
            if path in shown:
                lines += [f"- [`{item.name}`][{path}]"]
                continue
            shown.add(path)
            lines += ["", f"::: {path}", ""]
        pages[package.path] = "\n".join(lines)
    return pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Gives the pages of docs/ their path in the repository, and adds those from elsewhere and the reference."""
    site, pretty = config.site_dir, config.use_directory_urls
    taken = [file for file in files if file.src_dir != config.docs_dir]
    inside = [f"docs/{file.src_uri}" for file in files if file.src_dir == config.docs_dir]
    outside = [path.relative_to(ROOT).as_posix() for pattern in OUTSIDE_DOCS for path in sorted(ROOT.glob(pattern))]
    taken += [File(path, str(ROOT), site, pretty) for path in inside + outside]
    pages = reference(ROOT)
    summaries = [f"| [{name}]({name}.md) | {text.splitlines()[2]} |" for name, text in pages.items()]
    index = "\n".join(["# API reference", "", "| package | |", "|---|---|", *summaries])
    taken.append(File.generated(config, "reference/index.md", content=index))
    chapter: list[Any] = ["reference/index.md"]
    for name, text in pages.items():
        page = f"reference/{name}.md"
        taken.append(File.generated(config, page, content=text))
        chapter.append({name: page})
    assert config.nav is not None
    config.nav.append({"API reference": chapter})
    return Files(taken)
