"""The documentation site: each kind of mistake ends `mkdocs build --strict`, which is `make docs`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")

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


@pytest.fixture
def site(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """The pages of this checkout and a package of two small modules."""
    root = pytestconfig.rootpath
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    for name in ("docs", "experiments", "notebooks", "stmask/official"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "tools").mkdir()
    shutil.copy(root / "tools/docs_hook.py", tmp_path / "tools")
    (tmp_path / "stmask/__init__.py").write_text(PACKAGE)
    (tmp_path / "stmask/loading.py").write_text(MODULE)
    return tmp_path


def build(site: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    ran = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("README.md", "](docs/data.md)", "](docs/date.md)", "'README.md' contains a link 'docs/date.md'"),
        ("docs/data.md", "](own-videos.md)", "](own-videos.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("CONTRIBUTING.md", "](docs/architecture.md)", "](docs)", "unrecognized relative link 'docs'"),
        ("stmask/loading.py", "`path`.", "[path][stmask.nothing].", "cross-reference target 'stmask.nothing'"),
        ("stmask/loading.py", '"""The', 'path = """The', "stmask.loading.load has no docstring"),
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
