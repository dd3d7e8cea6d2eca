# Each target works alone on a fresh clone: it makes what it needs and does nothing twice.
PYTHON ?= python3
JOBS ?= 2
THREADS ?= 1
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stmask-installed
OLDEST := .venv-oldest
OLDEST_STAMP := $(OLDEST)/.stmask-installed
# a few minutes: import, compose, train, stop, resume, evaluate, predict, sweep, the metric, the private touches
OLDEST_TESTS := tests/test_oldest.py tests/test_hydra_private.py tests/test_config_overrides.py tests/test_loading.py \
  tests/engine/test_lightning_private.py tests/engine/test_run.py tests/engine/test_interruption.py \
  tests/engine/test_processes.py tests/evaluation/test_golden.py tests/evaluation/test_metric.py \
  tests/experiments/test_sweep.py tests/inference/test_segmenter.py tests/inference/test_video.py \
  tests/data/test_datamodule.py tests/data/test_pairs.py

define CHECK_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "stmask needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Name another interpreter: PYTHON=/path/to/python3.12 make env" >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help env demo notebooks test test-oldest lint docs wheel-check sampler clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 make env   another interpreter (3.10 or newer)"
	@echo "  JOBS=4 make test             test processes (now $(JOBS)), THREADS=2 for threads in each"

env: $(STAMP) ## virtual environment in .venv with stmask installed from this checkout

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(CHECK_PYTHON)
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing stmask and what it needs (PyTorch is large, the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs,notebooks]'
	@touch $@

demo: $(STAMP) ## data, training, evaluation, pictures and a report, from nothing (5 minutes on two cores)
	@STMASK_TYPED='make demo' $(BIN)/stmask demo

notebooks: $(STAMP) ## run copies of notebooks/ in demo/notebooks, to read them with their pictures
	@mkdir -p demo/notebooks && cp notebooks/*.ipynb demo/notebooks
	@cd demo/notebooks && for name in *.ipynb; do ../../$(BIN)/jupyter execute --inplace $$name || failed=1; done; exit $$failed

test: $(STAMP) ## all tests (about 15 minutes on two cores)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-oldest: $(OLDEST_STAMP) ## the main tests with the oldest versions allowed, in .venv-oldest
	@OMP_NUM_THREADS=$(THREADS) $(OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS) $(OLDEST_TESTS)

$(OLDEST_STAMP): pyproject.toml setup.py constraints-oldest.txt
	@$(CHECK_PYTHON)
	@test -x $(OLDEST)/bin/python || { echo "making $(OLDEST)"; $(PYTHON) -m venv $(OLDEST); }
	@echo "installing the oldest versions that pyproject.toml allows (another PyTorch: 6 GB)"
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt \
	  --editable '.[train,wandb,slurm,search]' pytest pytest-xdist hypothesis
	@touch $@

lint: $(STAMP) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(STAMP) ## the site, in site/; a broken link, an unknown reference or a missing docstring fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean --strict

wheel-check: $(STAMP) ## wheels of stmask and vis-metric, built, and tried in an environment of their own
	@tools/wheel_check.sh $(BIN)/python

sampler: $(STAMP) ## spatial-correlation-sampler, which our correlation is compared with (needs nvcc and a C++ compiler)
	@tools/build_sampler.sh $(BIN)/python

clean: ## remove caches and build leftovers, keep the environment, runs/ and demo/
.PHONY: help env demo notebooks test test-oldest lint docs sampler clean
