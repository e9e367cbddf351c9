# make demo | test | check | bench. Each sets up what it needs in .venv and says what it does; paths may hold spaces.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
.DEFAULT_GOAL := help
.PHONY: help demo test check fast bench clean

help:
	@echo "make demo    train two small models and assess them (offline after the first install)"
	@echo "make test    run all tests"
	@echo "make check   style, types, imports between rooms, fast tests"
	@echo "make bench   benchmarks: ours and peers in one run"

.venv/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "veriward needs Python 3.11 or newer; this is:"; $(PYTHON) --version; echo "choose another with: make PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/user: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing veriward and what it needs (some minutes the first time)"
	@$(PIP) torch
	@$(PIP) --editable .
	@touch .venv/user

.venv/dev: .venv/user
	@echo "installing what the tests need"
	@$(PIP) --editable ".[dev]"
	@touch .venv/dev

.venv/bench: .venv/dev
	@echo "installing the peers of the benchmarks"
	@$(PIP) --editable ".[dev,bench]"
	@touch .venv/bench

demo: .venv/user
	@echo "running: veriward demo"
	@$(PY) -m veriward demo

test: .venv/dev
	@echo "running the tests"
	@$(PY) -m pytest -n 2 --dist worksteal

check: .venv/dev
	@echo "style";   $(PY) -m ruff check . && $(PY) -m ruff format --check .
	@echo "types";   $(PY) -m mypy
	@echo "rooms";   .venv/bin/python -c "from importlinter.cli import lint_imports_command as run; run()" --no-cache
	@echo "tests";   $(PY) -m pytest -n 2 --dist worksteal -m "not slow"

bench: .venv/bench
	@$(PY) -m benchmarks

clean:
	rm -rf .venv build src/*.egg-info
