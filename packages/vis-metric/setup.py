"""Takes the metric's modules from the stmask checkout that this folder is in, under the name of this package.

They have one home, `stmask/` two folders up, and are written to `src/vis_metric` (which git ignores) whenever something
is built there: `import stmask.x` becomes `import vis_metric.x`, and nothing else changes. A source distribution has
them already, and builds without the checkout. After a change to stmask an editable install is renewed by installing it
again.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import Extension, find_packages, setup

OURS = Path("src/vis_metric")
CHECKOUT = Path("../../stmask")
FOLDERS = ("commands", "evaluation", "formats")
# in the order of stmask's layers; what only networks, images and servers need stays there
MODULES = (
    "errors",
    "extras",
    "class_names",
    "files",
    "lettering",
    *(f"formats/{name}" for name in ("__init__", "entries", "fields", "packed", "runs", "segmentation")),
    *(f"evaluation/{name}" for name in ("__init__", "assignment", "causes", "curves", "error_groups", "explain")),
    *(f"evaluation/{name}" for name in ("ground_truth", "groups", "hints", "identity", "matching", "overlap", "plots")),
    *(f"evaluation/{name}" for name in ("reading", "regions", "report", "results", "tracking", "variants", "video_ap")),
    "progress",
    "console",
    *(f"commands/{name}" for name in ("__init__", "metric", "parsing")),
)
C_MODULE = "formats/_masks.c"
IMPORT = re.compile(r"^(\s*(?:from|import) )stmask\b", re.MULTILINE)


def take() -> None:
    """Writes the modules anew."""
    for folder in FOLDERS:
        shutil.rmtree(OURS / folder, ignore_errors=True)
        (OURS / folder).mkdir()
    for name in MODULES:
        text = (CHECKOUT / f"{name}.py").read_text(encoding="utf-8")
        (OURS / f"{name}.py").write_text(IMPORT.sub(r"\1vis_metric", text), encoding="utf-8")
    shutil.copyfile(CHECKOUT / C_MODULE, OURS / C_MODULE)
    shutil.copyfile("../../LICENSE", "LICENSE")


if (CHECKOUT / C_MODULE).is_file():
    take()

setup(
    ext_modules=[
        Extension(
            "vis_metric.formats._masks",
            [str(OURS / C_MODULE)],
            define_macros=[("Py_LIMITED_API", "0x030A0000")],  # one build for all of Python's versions from 3.10 on
            py_limited_api=True,
            optional="VIS_METRIC_NEEDS_C" not in os.environ,  # arrays do the same, many times slower
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    packages=find_packages("src"),
    package_dir={"": "src"},
    package_data={"vis_metric": ["py.typed"]},
)
