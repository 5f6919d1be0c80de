# make venv | demo | test | lint | bench | lock
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: venv demo test lint bench lock

venv: .venv/.ready

# The marker is written last: an interrupted installation starts over instead of leaving half an environment. Python
# compiles what is imported, a fraction of what is installed.
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --no-compile --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

demo: venv
	$(BIN)/snakemake --cores $(CORES) results/demo_test_preds results/demo/report.html

test: venv
	$(BIN)/pytest

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: venv
	$(BIN)/python benchmarks/bench.py

# Exact versions of everything, with hashes; needs uv (pip install uv).
lock:
	uv pip compile pyproject.toml --extra dev --constraint envs/torch.txt --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --output-file requirements.lock
