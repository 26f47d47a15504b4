# Targets a newcomer needs: demo, test. The others are for those who work on it: make help
PYTHON ?= python3
PORT ?= 8000
# Further options of `python -m benchmarks` for the bench targets: make bench-quick BENCH_FLAGS=--check-floors
BENCH_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
BENCH := $(BIN)/python -m benchmarks
# Peers that the benchmarks measure beside ours, as tests/needs.py names them
PEERS := redis wrk hfind
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help install install-dev demo check test bench bench-quick bench-100m lock clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

install: $(VENV)/.installed ## make .venv from the hash-pinned lock file, with the command at .venv/bin/hashwacht

install-dev: $(VENV)/.installed-dev ## the same with what check, test and benchmarks need

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# The build backends come first and from a lock of their own: pip would fetch them unpinned for what is built here.
$(VENV)/.installed: requirements-build.lock requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements-build.lock
	$(PIP) install --require-hashes --no-build-isolation -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --require-hashes --no-build-isolation -r requirements-dev.lock
	touch $@

demo: install ## compile this machine's own software digests and serve them on 127.0.0.1 (PORT=…)
	@$(BIN)/python demo.py --port $(PORT)

check: install-dev ## ruff, ruff format, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install-dev ## all tests; what they need beside Python is set up first (apt as root on Debian)
	$(BIN)/python tests/machine.py
	$(BIN)/python -m pytest

bench: install-dev ## everything measured beside its peers: benchmarks/results and the README's table (15 minutes)
	$(BIN)/python tests/machine.py $(PEERS)
	$(BENCH) full --results benchmarks/results $(BENCH_FLAGS)
	$(BENCH).readme_table

bench-quick: install-dev ## the same, shorter, as a table here (5 minutes)
	$(BIN)/python tests/machine.py $(PEERS)
	$(BENCH) quick --json build/bench-quick.json $(BENCH_FLAGS)

bench-100m: install-dev ## compile a hundred million lines, into benchmarks/results too (on request; 25 GB of disk)
	$(BENCH) 100m --results benchmarks/results $(BENCH_FLAGS)

lock: ## renew the lock files (needs uv)
	$(UV_COMPILE) --group build -o requirements-build.lock
	$(UV_COMPILE) -c requirements-build.lock pyproject.toml -o requirements.lock
	$(UV_COMPILE) -c requirements-build.lock -c requirements.lock --group dev pyproject.toml -o requirements-dev.lock

clean: ## remove .venv and caches
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
