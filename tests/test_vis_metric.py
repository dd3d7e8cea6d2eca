"""packages/vis-metric, the metric as a distribution of its own: it has what it imports, and gives the same numbers."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_architecture import imports

import stmask

ROOT = Path(stmask.__file__).parents[1]
PACKAGE = ROOT / "packages" / "vis-metric"
CASE = Path(__file__).parent / "evaluation" / "data" / "case3_noisy"
ALLOWED = {"numpy", "pycocotools"}
# imported inside functions, for what the command does not offer there or what an extra brings
LAZY = {"matplotlib", "cv2", "rich", "stmask.config", "stmask.evaluation.metric", "hydra", "omegaconf"}
FROM_PLOTS = {"PIL"}  # which matplotlib brings along

pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs a checkout")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Those that setup.py takes from stmask; it runs where there is no checkout, and takes nothing."""
    import setuptools

    place = tmp_path_factory.mktemp("alone")
    (place / "src").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **settings: None)
        patch.chdir(place)
        found: tuple[str, ...] = runpy.run_path(str(PACKAGE / "setup.py"))["MODULES"]
    return found


def test_it_has_every_module_that_it_imports(modules: tuple[str, ...]) -> None:
    """Nothing of the networks or of other packages is imported on the way."""
    names = {f"stmask.{name}".replace("/", ".").removesuffix(".__init__") for name in modules}
    names |= {"stmask", "stmask.commands", "stmask.evaluation", "stmask.formats"}
    for module in modules:
        path = ROOT / "stmask" / f"{module}.py"
        first = set(imports(path, top_level_only=True))
        for name in imports(path):
            top = name.split(".")[0]
            if top == "stmask":
                known = name in names or name.rpartition(".")[0] in names
                assert known or (name.rpartition(".")[0] in LAZY and name not in first), f"{module} imports {name}"
            elif top not in sys.stdlib_module_names:
                allowed = ALLOWED | (FROM_PLOTS if module == "lettering" else set())
                assert top in allowed or (top in LAZY and name not in first), f"{module} imports {name}"


def test_git_has_no_copies(modules: tuple[str, ...]) -> None:
    listed = subprocess.run(["git", "ls-files", "packages"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs git and a repository")
    ours = {Path(name).name for name in listed.stdout.split()}
    assert ours >= {"setup.py", "pyproject.toml", "README.md", "__init__.py", "__main__.py", "py.typed"}
    assert {f"{Path(name).name}.py" for name in modules} & ours == {"__init__.py"}
    made = [str(PACKAGE / "src" / "vis_metric" / f"{name}.py") for name in modules]
    ignored = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(ignored.stdout.split()) == len(made)


def build(package: Path, out: Path) -> Path:
    """A wheel of what is in a folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(package)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("building needs setuptools from the network")
    assert built.returncode == 0, built.stderr
    return next(out.glob("vis_metric-*.whl"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels built in a copy of the checkout, and from what a source distribution has: the package's folder alone."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "build", "*.egg-info")
    for name in ("stmask", "packages"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    shutil.copy(ROOT / "LICENSE", source)
    inside = build(source / "packages" / "vis-metric", out / "inside")
    shutil.rmtree(source / "stmask")
    return {"in a checkout": inside, "by itself": build(source / "packages" / "vis-metric", out / "alone")}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of packages with NumPy and pycocotools and nothing else."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ALLOWED:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        place = Path(spec.origin).parent
        for found in (place, place.with_name(f"{name}.libs")):
            if found.is_dir():
                (site / found.name).symlink_to(found)
    return site


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["in a checkout", "by itself"])
def test_the_wheel_scores_with_two_packages(kind: str, wheels: dict[str, Path], bare: Path, tmp_path: Path) -> None:
    archive = zipfile.ZipFile(wheels[kind])
    if shutil.which(os.environ.get("CC", "cc")):
        assert any(name.startswith("vis_metric/formats/_masks") and name.endswith(".so") for name in archive.namelist())
        assert "-cp310-abi3-" in wheels[kind].name
    archive.extractall(bare)
    start = f"import sys; sys.path.append({str(bare)!r}); "
    # -I, -S: only the standard library and that folder
    python = [sys.executable, "-I", "-S", "-c"]
    code = start + "sys.argv[0] = 'vis-metric'; from vis_metric.__main__ import main; sys.exit(main())"

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*python, code, *words], capture_output=True, text=True, check=False, cwd=tmp_path)

    files = [str(CASE / name) for name in ("gt.json", "results.json")]
    flags = ["--per-class", "--explain", "--frames", "--boundary", "--identities", "--errors=e.json"]
    flags += ["--tracking", "--json=ap.json"]
    scored = command(*files, *flags)
    assert scored.returncode == 0, scored.stderr
    theirs = json.loads((CASE / "expected.json").read_text())["stats"]
    ours = json.loads((tmp_path / "ap.json").read_text())
    tracking = json.loads((CASE.parent / "tracking" / "expected.json").read_text())[CASE.name]
    assert ours.pop("tracking")["all"] == pytest.approx(tracking["all"], abs=1e-9)
    assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=1e-12)
    assert command("--help").stdout.startswith("usage: vis-metric ")
    missing = command("none.json", "none.json")
    assert (missing.returncode, missing.stderr) == (2, "vis-metric: error: no such file: none.json\n")
    assert "pip install 'vis-metric[plots]'" in command(*files, "--plots=p").stderr

    # what README.md says about Python
    blocks = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text().partition("## From MM")[0], re.S)
    for name, file in zip(("valid.json", "results.json"), files, strict=True):
        shutil.copy(file, tmp_path / name)
    uses = """
made = entry(1, 1, 0.5, np.eye(4, dtype=bool)[None].repeat(2, axis=0) * np.array([1, 0], bool)[:, None, None])
assert made["segmentations"][1] is None and made["segmentations"][0]["size"] == [4, 4]
assert "torch" not in sys.modules
"""
    text = start + "\n" + "\n".join(blocks) + uses
    said = subprocess.run([*python, text], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"{theirs['AP']} {theirs['AP50']}\n")
