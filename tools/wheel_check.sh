#!/usr/bin/env bash
# What `pip install` gives a user, tried in an environment of its own: wheels of stmask and of packages/vis-metric, built from a
# copy, installed without a network, and run from elsewhere. PyTorch and the other dependencies are those of the environment whose
# Python is the argument.
set -euo pipefail
python=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case=$root/tests/evaluation/data/case3_noisy
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/source"
tar -C "$root" --exclude='*.so' --exclude=__pycache__ --exclude='*.egg-info' --exclude=build -cf - \
  pyproject.toml setup.py README.md LICENSE stmask hydra_plugins conf packages | tar -C "$work/source" -xf -

# setuptools of the environment, if it is new enough; else the one that pip gets
isolation=
"$python" -c 'import setuptools, sys; sys.exit(int(setuptools.__version__.split(".")[0]) < 77)' && isolation=--no-build-isolation
build() {
  STMASK_NEEDS_C=1 VIS_METRIC_NEEDS_C=1 "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps $isolation \
    --wheel-dir "$work/wheels" "$1"
}
build "$work/source"
build "$work/source/packages/vis-metric"
for name in stmask vis_metric; do
  ls "$work"/wheels/$name-*-cp310-abi3-*.whl > /dev/null # one for all of Python's versions, with the C module
done

"$python" -m venv "$work/venv"
site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index "$work"/wheels/*.whl
# Dependencies come after what is installed here, by their folders alone: .pth files of theirs, such as that of an editable
# stmask, are not read.
"$python" -c 'import sysconfig; print(*{sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}, sep="\n")' > "$site/theirs.pth"

cd "$work"
unset PYTHONPATH "${!STMASK_@}"
bin=$work/venv/bin
"$bin/python" - "$site" << 'CODE'
import sys
from pathlib import Path

import stmask
import stmask.config
import vis_metric
from stmask.formats import packed
from vis_metric.formats import packed as theirs

site = Path(sys.argv[1])
assert site in Path(stmask.__file__).parents and site in Path(vis_metric.__file__).parents, stmask.__file__
assert stmask.config.conf_dir() == site / "stmask" / "conf"
for module in (packed, theirs):
    assert module._compiled is not None and module._compiled.__file__.endswith(".abi3.so")
CODE
"$bin/stmask" --version
"$bin/stmask" predict --help > predict.txt
grep -q "stmask predict " predict.txt
"$bin/stmask" train --cfg job seed=5 > train.txt
grep -qx "seed: 5" train.txt
"$bin/stmask" metric "$case/gt.json" "$case/results.json" --json ours.json > table.txt
"$bin/vis-metric" "$case/gt.json" "$case/results.json" --json theirs.json > /dev/null
"$bin/python" - "$case/expected.json" << 'CODE'
import json
import sys

official = list(json.load(open(sys.argv[1]))["stats"].values())
for name in ("ours.json", "theirs.json"):
    found = list(json.load(open(name)).values())
    assert max(abs(a - b) for a, b in zip(found, official, strict=True)) < 1e-12, name
CODE
"$bin/python" -c "import stmask; stmask.load_segmenter('$root/tests/checkpoints/data/format1.ckpt')"
echo "the wheels install and run: $(cd "$work/wheels" && echo *.whl)"
