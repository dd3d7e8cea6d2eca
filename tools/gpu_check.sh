#!/usr/bin/env bash
# Everything that needs a GPU, in one run of at most 8 minutes: tests, inference, training, a sweep. Leaves one JSON.
#
#   tools/gpu_check.sh [--wheels FOLDER] [--out gpu_check.json] [--device cuda|cpu] [--quick]
#
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
