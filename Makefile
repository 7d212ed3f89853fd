# Two commands for everybody: `make demo` and `make test`. Each sets up all it needs in .venv first,
# and says what that takes.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
NVIDIA := $(wildcard /proc/driver/nvidia /dev/nvhost-gpu)
CPU_BUILD := (2\.[1-9][0-9]|[3-9]\.[0-9]+)\.[0-9]+\+cpu

# One thread a test: two processes share the cores, and threads that wait for each other spin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --dist loadfile

.PHONY: help demo test test-all lint clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      draw street scenes, train, export and translate a video, all in demo/"
	@echo "make test      check the style, the types and the layers, then run the tests"
	@echo "make test-all  the slow tests, too; CI does it"
	@echo "make lint      only the checks that take seconds"
	@echo "make clean     remove .venv, demo/ and what the tools have cached"

demo: $(READY)
	$(BIN)/python -m experiments.demo

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m "not timing"

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
	@build=; size="7 GB"; if [ -z "$(NVIDIA)" ] && [ "$(PYTORCH)" != newest ]; then \
	    build=$$($(BIN)/python -m pip index versions torch 2>/dev/null | \
	        grep -oE '$(CPU_BUILD)' | head -n 1); \
	    if [ "$$build" ]; then size="2 GB"; else \
	        echo "no NVIDIA GPU here, but pip's indexes have no CPU build of PyTorch:" \
	             "the one with CUDA comes; PIP_EXTRA_INDEX_URL can add an index"; \
	    fi; \
	fi; \
	echo "installing PyTorch$${build:+ $$build}, ONNX Runtime, OpenCV and the tools into .venv/: $$size"; \
	$(BIN)/python -m pip install --quiet --editable ".[cpu,export]" --group dev \
	    $${build:+"torch==$$build"}
	@touch $@

clean:
	rm -rf .venv demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
