# Two commands for everybody: `make demo` and `make test`. Each sets up all it needs in .venv first.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   draw street scenes, train, export and translate a video, all in demo/"
	@echo "make test   check the style, the types and the layers, then run every test"
	@echo "make lint   only the checks that take seconds"
	@echo "make clean  remove .venv, demo/ and what the tools have cached"

demo: $(READY)
	$(BIN)/python -m experiments.demo

test: lint
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The one set-up; it is made again only when pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "error: $(PYTHON) is missing or older than Python 3.10;" \
	         "name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"  # the first with --group
	$(BIN)/python -m pip install --quiet --editable ".[cpu,export]" --group dev
	@touch $@

clean:
	rm -rf .venv demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
