"""Packages are found, not listed, so that a new folder of modules or of configurations can't be left out of a wheel.

The configurations live in `conf/` at the top of a checkout and become `stmask/conf` in a wheel.
"""

from pathlib import Path

from setuptools import Extension, find_packages, setup

CONF = Path("conf")
folders = sorted({path.parent for path in CONF.rglob("*.yaml")} | {CONF})

# Makes `stmask metric` several times faster; without a compiler arrays do the same.
run_lengths = Extension("stmask.evaluation._runs", ["stmask/evaluation/_runs.c"], optional=True)

setup(
    ext_modules=[run_lengths],
    packages=[
        *find_packages(include=["stmask", "stmask.*"]),
        *(".".join(("stmask", *folder.parts)) for folder in folders),
    ],
    package_dir={"stmask.conf": "conf"},
    package_data={"": ["*.yaml"], "stmask": ["py.typed", "**/*.md", "experiments/*.csv"]},
)
