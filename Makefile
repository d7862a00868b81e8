# Everything runs in .venv, which the first call makes. Needs Python 3.11 and nothing else.
#   make demo              the whole job on the sample archive
#   make test              what .ci/run runs
#   make demo TORCH=gpu    the same with CUDA packages (several GB), in a fresh .venv
#   make bench BENCH=--full    the sizes that the aims name (hours); CUBECAST_RADAR=DIR adds the radar

PYTHON ?= python3.11
TORCH ?= cpu

BIN := .venv/bin
# The one place that says which torch.
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
CPU_INDEX := https://download.pytorch.org/whl/cpu
# Two processes; the tests of one file stay together, since they share what was made for them.
# In the order of the folders: flows come first, whose few tests take longest.
PYTEST := $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check pytest up down bench gpu clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## /  \1\t/p' $(MAKEFILE_LIST)

demo: .venv/.ready  ## run the whole job on samples/ into demo/
	$(BIN)/cubecast demo --root demo

test: check  ## lint, types, import contracts and tests

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/yamllint --strict deploy .pre-commit-config.yaml
	$(PYTEST)

pytest: .venv/.ready  ## tests alone
	$(PYTEST)

up: .venv/.ready  ## local Prefect server, worker and schedules, in the background
	$(BIN)/cubecast up --detach

down: .venv/.ready  ## stop what 'make up' started
	$(BIN)/cubecast down

bench: .venv/.ready  ## the numbers of benchmarks/
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; \
	  $(BIN)/python -m benchmarks.$$(basename $$script .py) $(BENCH); done

gpu: .venv/.ready  ## tests that need a CUDA device
	$(BIN)/pytest -q -m gpu

clean:  ## remove what was made here: .venv, demo/, runs/, caches
	rm -rf .venv demo runs build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: the plain wheel of PyPI brings gigabytes of CUDA packages.
# Some indexes hold the CPU wheel; else PyTorch's own does.
.venv/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing; install Python 3.11, or name it: make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifeq ($(TORCH),gpu)
	@echo "installing torch $(TORCH_VERSION) with CUDA (several GB)"
	$(PIP) 'torch==$(TORCH_VERSION)' -c constraints.txt
else
	@echo "installing torch $(TORCH_VERSION) for the CPU"
	$(PIP) --no-deps 'torch==$(TORCH_VERSION)+cpu' 2>/dev/null || \
	  $(PIP) --no-deps 'torch==$(TORCH_VERSION)' --index-url $(CPU_INDEX)
endif
	@echo "installing cubecast and the tested set of constraints.txt (a few minutes)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@
