"""What leaves the repository: the wheel, the Makefile's promises, the files' agreement with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import stmask

ROOT = Path(stmask.__file__).parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


def relative(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of, so that no build folder appears in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "stmask", "hydra_plugins", "conf"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("building needs setuptools from the network")
    assert built.returncode == 0, built.stderr
    return next(out.glob("stmask-*.whl"))


def test_an_editable_install_is_an_entry_of_the_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no finder behind it: those lose to any folder called stmask in the current one."""
    import runpy

    import setuptools

    given: dict[str, object] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.setattr(sys, "argv", ["setup.py", "editable_wheel"])
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    assert given["package_dir"] == {"": "."}
    assert not [name for name in given["packages"] if name.startswith("stmask.conf")]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_wheel_has_every_module_and_configuration(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"stmask/{name}" for name in relative(ROOT / "stmask", "*.py")} <= names
    assert {f"stmask/conf/{name}" for name in relative(ROOT / "conf", "*.yaml")} <= names
    assert {"stmask/py.typed", "stmask/report/page.html"} <= names
    assert "hydra_plugins/stmask_launchers/__init__.py" in names
    assert "hydra_plugins/__init__.py" not in names  # which would hide the plugins of other packages
    assert not {name for name in names if name.startswith(("tests/", "notebooks/", "conf/"))}


@pytest.mark.slow
def test_an_installed_wheel_finds_its_configurations(wheel: Path, tmp_path: Path) -> None:
    """Unpacked as an installer does it, beside the dependencies of this environment, run from elsewhere."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    check = "import stmask, stmask.config; print(stmask.config.conf_dir()); from stmask.cli import main; main()"
    # -I: neither the current folder nor the environment; -S: no .pth files, so not this checkout either
    paths = [str(tmp_path / "site"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    bootstrap = f"import sys; sys.path += {paths!r}; {check}"
    command = [sys.executable, "-I", "-S", "-c", bootstrap, "train", "--cfg", "job", "seed=5"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STMASK")}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == str(tmp_path / "site" / "stmask" / "conf")
    assert "seed: 5" in ran.stdout
    assert list(elsewhere.iterdir()) == []


def test_constraints_pin_exactly_and_leave_lightning_out() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = re.compile(r'[A-Za-z0-9_.-]+==[^ ;]+(; python_version (<|>=) "3\.\d+")?')
    assert [line for line in lines if not pinned.fullmatch(line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert "lightning" not in names
    assert {"torch", "torchvision", "pytorch-lightning", "hydra-core"} <= set(names)


def test_every_dependency_is_pinned() -> None:
    requirement = re.compile(r'^\s*"([A-Za-z0-9_.-]+)[<>=!~]', re.MULTILINE)
    wanted = requirement.findall((ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[0])
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {name.lower() for name in wanted} - {"setuptools"} - pinned == set()


def test_make_help_names_every_target() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^  make ([\w-]+)", shown, re.MULTILINE)) == set(phony[1].split())


def test_an_old_python_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.18" && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    ran = subprocess.run(["make", f"PYTHON={old}", "env"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert f"stmask needs Python 3.10 or newer; {old} is Python 3.8.18." in ran.stderr
    assert not (tmp_path / ".venv").exists()
