# make venv | demo | test | lint | docs | docs-test | torture | audit | bench | lock
CORES ?= $(shell nproc)
BIN := .venv/bin
OUTSIDE := $(subst $(CURDIR)/.venv/bin:,,$(PATH))
export PATH := $(CURDIR)/.venv/bin:$(OUTSIDE)

.PHONY: venv demo test lint docs docs-test torture audit bench lock moved

venv: .venv/.ready

# The marker is written last, so an interrupted installation starts over, with a Python outside of the environment. It
# holds the folder, as the programs of an environment that was moved or copied name the former one.
# --no-compile: Python compiles modules on import, a fraction of those installed; envs/compiled.py imports these once.
# --no-build-isolation: on Python 3.13 pydensecrf2 needs another Cython than the one that it names (docs/install.md).
.venv/.ready: export PATH := $(OUTSIDE)
.venv/.ready: PYTHON ?= $(shell PATH='$(OUTSIDE)' envs/python.sh)
.venv/.ready: requirements.lock envs/build.lock pyproject.toml $(if $(filter $(CURDIR),$(file <.venv/.ready)),,moved)
	@$(PYTHON) -c 'import sys; sys.exit("error: $(PYTHON) is Python %d.%d, and 3.11, 3.12 or 3.13 is needed; \
	name one, as in: make $(MAKECMDGOALS) PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@command -v c++ g++ clang++ >/dev/null || \
	  { echo "error: there is no C++ compiler, which pydensecrf2 needs; on Debian and Ubuntu: apt-get install g++" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || \
	  { echo "error: Python.h is missing, which pydensecrf2 needs; on Debian and Ubuntu: apt-get install python3-dev" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --no-compile --require-hashes --requirement envs/build.lock
	$(BIN)/pip install --quiet --no-compile --no-build-isolation --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	$(BIN)/python envs/compiled.py
	echo '$(CURDIR)' > $@

demo: venv
	$(BIN)/python -m ppl.run --cores $(CORES) results/demo_test_preds results/demo/report.html

# Threads of torch that wait would take the cores of other tests (workflow/rules/common.smk).
test: export GOMP_SPINCOUNT = 1000
test: venv
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Build the site in build/site.
docs: export NO_MKDOCS_2_WARNING = 1
docs: venv
	$(BIN)/mkdocs build --quiet --strict

docs-test: venv
	$(BIN)/python tests/docs/run.py

torture: venv
	$(BIN)/python tests/torture/kills.py $(ARGS)
	$(BIN)/python tests/torture/faults.py
	$(BIN)/python tests/torture/repeats.py

audit:
	.ci/audit

# The environment variables of the workflow's jobs (workflow/rules/common.smk).
bench: export MALLOC_MMAP_MAX_ = 0
bench: export MALLOC_TRIM_THRESHOLD_ = 8589934592
bench: export MALLOC_TOP_PAD_ = 67108864
bench: export GOMP_SPINCOUNT = 1000
bench: venv
	$(BIN)/python benchmarks/bench.py $(ARGS)

# Lock exact versions of all packages, with hashes; needs uv (pip install uv).
lock: LOCK = uv pip compile - --python-version 3.11 --generate-hashes --no-annotate --no-header
lock:
	uv pip compile pyproject.toml --extra dev --extra export --constraint envs/torch.txt --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --output-file requirements.lock
	printf 'cython>=3.1\nsetuptools\nwheel\n' | $(LOCK) --constraint requirements.lock --output-file envs/build.lock
	echo pip-audit | $(LOCK) --output-file .ci/audit.lock
