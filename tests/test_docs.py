"""README and docs: their commands compose, their table of groups is complete, mistakes end `make docs`."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_architecture import LAYER

import stmask
from stmask.cli import COMMANDS
from stmask.config import compose, conf_dir

ROOT = Path(stmask.__file__).parents[1]
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "experiments/**/*.md", "notebooks/*.md", "stmask/official/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "extending.md"  # its blocks are run by tests/plugin
]
ELSEWHERE = ("glob(", "experiment=mine")  # what an override names that is not in this checkout

pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="needs a checkout")
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocstrings") is None, reason="needs the extra `docs` (pip install -e '.[docs]')"
)


def shown_commands() -> list[str]:
    """The lines `stmask ...` in the pages' blocks of code, without comments; each once."""
    blocks = (block for page in PAGES for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.S | re.M))
    lines = (re.split(r"\s+#|\s+\[", line)[0] for block in blocks for line in block.splitlines())
    return sorted({line for line in lines if line.startswith("stmask ")})


@pytest.mark.parametrize("line", shown_commands())
def test_a_command_of_the_pages_composes(line: str) -> None:
    """Groups, options, keys and types; of a sweep's values the first."""
    _, command, *arguments = shlex.split(line)
    assert command in COMMANDS
    if command not in ("train", "evaluate", "predict", "sweep"):
        return
    overrides = [argument for argument in arguments if re.match(r"[+\w./@]+=", argument)]
    if "-m" in arguments or command == "sweep":
        overrides = [override.split(",")[0] for override in overrides if not override.startswith("seeds=")]
    overrides = [override for override in overrides if not any(word in override for word in ELSEWHERE)]
    if command in ("train", "sweep"):
        compose("train", overrides)
        return
    trained_with = [override for override in overrides if re.match(r"(model|data)\b", override)]
    compose("train", trained_with)  # what evaluation lays over a checkpoint's tree are keys of that tree
    output = [] if command == "evaluate" or any(one.startswith("output=") for one in overrides) else ["output=o.mp4"]
    compose(command, [*(one for one in overrides if one not in trained_with), *output])


def test_the_table_of_groups_is_complete() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    stated = {
        (group, option)
        for groups, options in rows
        for group, names in zip(groups.split(", "), options.split("; "), strict=False)
        for option in re.findall(r"`([\w/]+)`", names)
        for group in [group.strip("`")]
    }
    files = {path.relative_to(conf_dir()).with_suffix("") for path in conf_dir().glob("*/**/*.yaml")}
    there = {(path.parent.as_posix(), path.name) for path in files if path.parts[0] not in ("hydra", "experiment")}
    there -= {("data", "base"), ("data", "common")}  # what the others begin with
    assert {pair for pair in stated if "/" not in pair[1] and pair[0] != "experiment"} == there


def test_the_table_of_packages_goes_down() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| ([^|]*) \|", text.split("| package |")[1].split("\n\n")[0], re.M)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    folders = {path.parent.name for path in (ROOT / "stmask").glob("*/__init__.py")}
    assert folders <= set(listed)
    heights = [LAYER[name] for name in listed if name in LAYER]
    assert heights == sorted(heights, reverse=True)


PACKAGE = '''"""A package with one public function."""

from stmask.loading import load

__all__ = ["load"]
'''
MODULE = '''"""Where it is defined."""


def load(path: str) -> str:
    """The checkpoint at `path`.

    Args:
        path, other: of a file.
    """
    return path
'''
METHOD = '''class load:
    """A class with a method that nothing describes."""

    def reset(self) -> None: ...


'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The pages of this checkout and a package of two small modules."""
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "experiments", "notebooks", "packages", "stmask/official"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/docs_hook.py", tmp_path / "tools")
    (tmp_path / "stmask/__init__.py").write_text(PACKAGE)
    (tmp_path / "stmask/loading.py").write_text(MODULE)
    return tmp_path


def build(site: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    ran = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@needs_mkdocs
@pytest.mark.slow
def test_the_pages_of_this_checkout(site: Path) -> None:
    code, log = build(site)
    assert code == 0, log
    page = (site / "site/reference/stmask/index.html").read_text()
    assert "The checkpoint at <code>path</code>." in page
    assert "<code>other</code>" in page  # a name that shares its description has a row of its own
    for path in (site / "site").rglob("*.html"):  # nothing is loaded from elsewhere
        assert 'src="http' not in path.read_text()
        assert 'rel="stylesheet" href="http' not in path.read_text()


@needs_mkdocs
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("README.md", "](docs/data.md)", "](docs/date.md)", "'README.md' contains a link 'docs/date.md'"),
        ("docs/data.md", "](own-videos.md)", "](own-videos.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("CONTRIBUTING.md", "](docs/architecture.md)", "](docs)", "unrecognized relative link 'docs'"),
        ("stmask/loading.py", "`path`.", "[path][stmask.nothing].", "cross-reference target 'stmask.nothing'"),
        ("stmask/loading.py", '"""The', 'path = """The', "stmask.loading.load has no docstring"),
        ("stmask/loading.py", "def load(", METHOD + "def other(", "stmask.loading.load.reset has no docstring"),
        ("stmask/__init__.py", '["load"]', '["load", "save"]', "__all__ names save"),
        ("mkdocs.yml", "      - Data: docs/data.md\n", "", "not included in the \"nav\" configuration"),
    ],
)  # fmt: skip
def test_a_mistake_ends_the_build(site: Path, file: str, old: str, new: str, complaint: str) -> None:
    text = (site / file).read_text()
    assert old in text
    (site / file).write_text(text.replace(old, new, 1))
    code, log = build(site)
    assert code != 0
    assert complaint in log
    assert "Aborted with 1 warnings in strict mode" in log
