# Each verb does its own set-up: a virtual environment in .venv, made from python3 (3.11 or newer) and filled once per change
# of pyproject.toml or constraints.txt. `make PYTHON=python3.12 test` chooses another interpreter.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

# What each environment stamp installs.
EXTRAS_quickstart := sklearn
EXTRAS_dev := test,check
EXTRAS_full := all,test,check,frameworks,peers
EXTRAS_bench := all,bench

.PHONY: help quickstart test test-all check examples bench reliability clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart   tune a small neural network on handwritten digits (under a minute after installation)"
	@echo "make test         the tests of everything that needs no large package"
	@echo "make test-all     every test, the slow ones, real frameworks and peers (2 GB) and thorough property tests included"
	@echo "make check        ruff, mypy --strict, import contracts, module budget"
	@echo "make examples     every example in full, one after another, with times"
	@echo "make bench        speed beside the peers, measured in one run; writes benchmarks/RESULTS.md"
	@echo "make reliability  what the tests break on purpose, counted; writes benchmarks/RELIABILITY.md"
	@echo "make clean        remove the environment and all caches"

quickstart: $(VENV)/.installed-quickstart
	$(BIN)/python examples/quick_start.py

test: $(VENV)/.installed-dev
	$(PYTEST) -q -n 2 -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-full
	OMP_NUM_THREADS=1 $(PYTEST) -q -n 2 --hypothesis-profile=thorough -m heavy $(ARGS)
	$(PYTEST) -q -m cluster $(ARGS)
	$(PYTEST) -q -n 2 --hypothesis-profile=thorough -m "not heavy and not cluster" $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/module_budget.py

examples: $(VENV)/.installed-full
	$(BIN)/python tools/run_examples.py $(ARGS)

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run_all.py

reliability: $(VENV)/.installed-dev
	$(BIN)/python tools/reliability.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tunesmith needs Python 3.11 or newer, and $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): tunesmith[$(EXTRAS_$*)] (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS_$*)]'
	@touch $@
