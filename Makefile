# Every target sets up .venv by itself when pyproject.toml or constraints.txt is newer than the last set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More arguments for pytest: make test ARGS='-k undo -x'
ARGS ?=

.PHONY: help setup demo test check lint format bench clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    rewrite a copy of the bundled legacy repository, check the result, undo it'
	@echo 'make test    run the tests (ARGS=... goes to pytest)'
	@echo 'make check   format, lint, types, import contracts, then the tests'
	@echo 'make format  let ruff format the code and mend what it can'
	@echo 'make bench   print the benchmark tables'
	@echo 'make clean   remove .venv, caches and the demo'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: Python 3.11 or newer is needed; say which with PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'error: this Python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@echo 'Setting up $(VENV): about a minute, most of it for torch'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev,test]'
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python scripts/demos/demo_imports.py

test: $(STAMP)
	@$(BIN)/python -m pytest --numprocesses auto $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	@$(MAKE) --no-print-directory test

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(STAMP)
	@for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) benchmarks/.cache .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
