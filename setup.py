"""Packages are found, not listed, so that a new folder of modules or of configurations can't be left out of a wheel.

The configurations live in `conf/` at the top of a checkout and become `stmask/conf` in a wheel. An editable install
finds them where they are. It needs no package from elsewhere then, and setuptools makes it a plain entry of the module
search path. The finder that it would use otherwise comes after that path: beside a checkout called `stmask`, where
scripts often are started, `import stmask` would be that folder.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

CONF = Path("conf")
EDITABLE = "editable_wheel" in sys.argv
folders = [] if EDITABLE else sorted({path.parent for path in CONF.rglob("*.yaml")} | {CONF})

# Makes `stmask metric` many times faster; without a compiler arrays do the same. One build serves all of Python's
# versions from 3.10 on (its stable ABI), so that a wheel for each platform brings it along.
masks = Extension(
    "stmask.formats._masks",
    ["stmask/formats/_masks.c"],
    define_macros=[("Py_LIMITED_API", "0x030A0000")],
    py_limited_api=True,
    optional="STMASK_NEEDS_C" not in os.environ,  # wheels for others are not built without it
)

setup(
    ext_modules=[masks],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    packages=[
        *find_packages(include=["stmask", "stmask.*"]),
        "hydra_plugins.stmask_launchers",  # beside those of others: hydra_plugins has no __init__.py
        *(".".join(("stmask", *folder.parts)) for folder in folders),
    ],
    package_dir={"": "."} if EDITABLE else {"stmask.conf": "conf"},
    package_data={
        "": ["*.yaml"],
        "stmask": ["py.typed", "**/*.md", "experiments/*.csv", "hub/*.csv", "report/*.html"],
    },
)
