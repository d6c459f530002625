# Every target does its own set-up: a machine needs Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
BIN := .venv/bin

# Images for containers often set it; then every start of a service compiles 700 modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-long check format bench up lock schemas clean

demo: setup  ## One event's whole way: usage in, invoices out, books proved (about a minute).
	@$(BIN)/meterline demo

test: setup  ## The tests on real servers, as CI runs them.
	@$(BIN)/python -m pytest -q -n 2 -m "not long"

test-long: setup  ## The long fault loops and the deep property runs.
	@$(BIN)/python -m pytest -m long --timeout=7200

check: setup  ## Style, types and architecture, as CI runs them.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup  ## Rewrite the sources in the one layout.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## The benchmarks, each beside its own ceiling; JSON into benchmarks/results/.
	@$(BIN)/meterline bench

up: setup  ## The whole stack, until Ctrl-C.
	@$(BIN)/meterline up

setup: .venv/installed  ## Make .venv with meterline and its tools; nothing the second time.

.venv/installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "meterline needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
	  "; name another one: make PYTHON=/path/to/python3.12")'
	@echo "Setting up .venv (once, about a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m deploy.local.warm
	@touch $@

schemas: setup  ## Write the JSON Schema of every topic anew, into schemas/json/.
	@$(BIN)/python -m deploy.published

lock:  ## Pin what requirements/*.in name, with hashes.
	cd requirements && uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 -q dev.in -o dev.txt

clean:  ## Remove what setup, runs and tests made.
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
