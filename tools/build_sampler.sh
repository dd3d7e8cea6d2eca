#!/usr/bin/env bash
# Builds the extra `sampler` into the environment of the given python. What it lacks it says; only a build that
# was possible and failed is an error.
set -euo pipefail

python=$1

skip() {
  echo "make sampler: not built: $1"
  exit 0
}

# The toolkit's root: CUDA_HOME, the real nvcc behind the one on PATH (often a link or a wrapper), the usual places.
cuda_root() {
  local nvcc real root
  nvcc=$(command -v nvcc || true)
  real=""
  if [[ -n $nvcc ]]; then
    real=$(readlink -f "$nvcc")
    if head -c 2 "$real" | grep -q '#!'; then
      real=$(grep -oE '/[^ "]*/bin/nvcc' "$real" | head -n 1 || true)
    fi
  fi
  for root in "${CUDA_HOME:-}" "${real%/bin/nvcc}" /usr/local/cuda /usr/local/cuda-* /opt/cuda; do
    if [[ -n $root && -x $root/bin/nvcc && -f $root/include/cuda_runtime.h ]]; then
      echo "$root"
      return
    fi
  done
}

if "$python" -c 'import torch, spatial_correlation_sampler' 2>/dev/null; then
  echo "make sampler: spatial-correlation-sampler is there already"
  exit 0
fi
command -v "${CXX:-c++}" >/dev/null || skip "no C++ compiler (${CXX:-c++}) on PATH"
root=$(cuda_root || true)
[[ -n $root ]] || skip "no CUDA toolkit (nvcc and its headers); set CUDA_HOME to its folder"
release=$("$root/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
wanted=$("$python" -c 'import torch; print((torch.version.cuda or "none").split(".")[0])')
[[ $wanted != none ]] || skip "this PyTorch was built without CUDA"
[[ $release == "$wanted" ]] || skip "the toolkit in $root is CUDA $release, PyTorch was built with CUDA $wanted"

export CUDA_HOME=$root TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-9.0} MAX_JOBS=${MAX_JOBS:-2}
export PATH=$root/bin:$PATH
log=${TMPDIR:-/tmp}/stmask-sampler-$$.log
echo "make sampler: building with $root for compute capability $TORCH_CUDA_ARCH_LIST (some minutes)"
install() { "$python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$@"; }
# Without isolation, because its setup imports the torch that it is built against.
if { install 'setuptools>=77,<82' wheel ninja && install --no-build-isolation spatial-correlation-sampler; } >"$log" 2>&1; then
  rm -f "$log"
  echo "make sampler: built"
else
  tail -n 30 "$log" >&2 || true
  echo "make sampler: the build failed; the whole output is in $log" >&2
  exit 1
fi
