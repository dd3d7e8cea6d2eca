#!/usr/bin/env bash
# Everything that needs a GPU, in one run of at most 8 minutes: tests, inference, training, a sweep. Leaves one JSON.
#
#   tools/gpu_check.sh [--wheels FOLDER] [--out gpu_check.json] [--device cuda|cpu] [--quick]
#   tools/gpu_check.sh --rows RUNS [--data data/bench] [--seconds N] ...
#
# --rows: in place of all that, what is missing among the rows of experiments/synthetic is trained for N seconds, many at
# a time, into the folder of runs RUNS, and evaluated. Give it the folder that a sweep elsewhere has begun, with the same
# data.root (checkpoints of runs that are done need not be there), and put what it leaves in that one's place: `stmask
# sweep` goes on from there.
# --wheels: for a machine without stmask's dependencies and without a network. The wheels and this checkout are
# installed into a temporary folder; PyTorch must be there. --device cpu --quick tries the script itself, anywhere.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
rest=() wheels=""
while (($#)); do
  case $1 in
    --wheels) wheels=$2; shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done

if [[ -n $wheels ]]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  pip=("$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --target "$site")
  "${pip[@]}" "$wheels"/*.whl
  mkdir "$site/checkout"
  (cd "$root" && cp -r stmask conf hydra_plugins pyproject.toml setup.py README.md LICENSE "$site/checkout")
  "${pip[@]}" --no-build-isolation "$site/checkout" || echo "the checkout was not installed: runs can't be recorded" >&2
  export PYTHONPATH=$site:$root${PYTHONPATH:+:$PYTHONPATH}
else
  export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
fi
"$python" "$root/tools/gpu_check.py" "${rest[@]}"
