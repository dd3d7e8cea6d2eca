#!/usr/bin/env bash
# Measures this checkout and an older commit by turns, in one run: tools/against_commit.sh COMMIT inference a.pth ...
# What measures is this checkout's stmask/benchmarks; what is measured is the commit's package.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
commit=${1:?usage: tools/against_commit.sh COMMIT WHAT [options of stmask benchmark]}
shift
python=${PYTHON:-python}
folder=${STMASK_OLD:-$(mktemp -d)/checkout} # kept where the variable names it
if [ ! -e "$folder/.git" ]; then
  git -C "$here" worktree add --quiet --detach "$folder" "$commit"
  [ -n "${STMASK_OLD:-}" ] || trap 'git -C "$here" worktree remove --force "$folder"' EXIT
  # its C module, by whatever setuptools is here: what pyproject.toml asks of the build is set aside
  (
    cd "$folder" && mv pyproject.toml pyproject.aside
    "$python" setup.py --quiet build_ext --inplace >&2 || echo "measured without its C module" >&2
    mv pyproject.aside pyproject.toml
  )
fi
rm -rf "$folder/stmask/benchmarks"
cp -r "$here/stmask/benchmarks" "$folder/stmask/benchmarks"
PYTHONPATH="$here" "$python" -m stmask benchmark "$@" --beside "$folder"
