# Everything happens in .venv, which the first target that needs it makes.
PYTHON ?= python3
BIN := .venv/bin
# The distribution was called tcf before; its remains would still own the command beside text-cf.
INSTALL := $(BIN)/python -m pip uninstall --disable-pip-version-check --yes --quiet tcf && \
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# Stamps: installing happens once, and again when one of these files changes.
SOURCES_OF_INSTALL := setup.cfg pyproject.toml constraints.txt
VENV := .venv/made
USE := .venv/installed-for-use
DEVELOP := .venv/installed-for-development
BENCH := .venv/installed-for-benchmarks
# A file with a text after a tab on each line.
TEXTS ?= ../shared/data/games/items.tsv
# A folder with behaviors.tsv and items.tsv.
RAW ?= ../shared/data/games

.PHONY: help quickstart test test-cluster check faults api bench gpu-check clean

help:
	@echo "make quickstart  the whole pipeline on MovieLens 100K, with a table at the end"
	@echo "make test        the tests"
	@echo "make test-cluster  jobs of a Slurm that is started on this machine, and workers killed at 20 moments, in 15 minutes"
	@echo "make check       ruff (style, docstrings, format), mypy and the direction of imports"
	@echo "make faults      every file of every kind damaged before every command that reads it, kills, full disks, hostile input"
	@echo "make api         the reference of the Python API, from its docstrings, in build/api"
	@echo "make bench       speed compared with other programs, on the texts of TEXTS=FILE and the users of RAW=FOLDER;"
	@echo "                 RECTOOLS=PYTHON, an environment with RecTools, adds its SASRec and its ranking"
	@echo "make gpu-check   everything that has to be right and fast on one GPU, in 9 minutes"
	@echo "make clean       remove .venv and the caches of tools"

quickstart: $(USE)
	$(BIN)/tcf pipeline examples/quickstart.toml

# A file's tests share what they prepared, so they stay in one process.
test: $(DEVELOP)
	@tests/slurm/install.sh
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# In one process, so that no two of them start a Slurm at the same time; skipped with a reason where there is none.
test-cluster: $(DEVELOP)
	@tests/slurm/install.sh
	TCF_CLUSTER=all $(BIN)/python -m pytest -q --durations=20 tests/slurm tests/launch

# The D rules of ruff are the docstring check: everything public has one, in Google style.
check: $(DEVELOP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# In one process, which counts what was injected, survived, detected, believed and lost; TCF_TEST_SEED draws others.
faults: $(DEVELOP)
	TCF_FAULTS=all $(BIN)/python -m pytest -q --show-capture=no tests/faults tests/test_hostile_paths.py \
		tests/integration/test_extract_killed.py tests/integration/test_train_killed.py tests/integration/test_plan_measured.py

# The import of all public names puts them into the module, where pdoc looks for them.
api: $(DEVELOP)
	$(BIN)/python -c 'from pathlib import Path; from tcf import *; import pdoc; \
	pdoc.render.configure(docformat="google", show_source=False, search=False); \
	pdoc.pdoc("tcf", output_directory=Path("build/api"))'

bench: $(BENCH)
	$(BIN)/python benchmarks/extract.py --texts $(TEXTS)
	$(BIN)/python benchmarks/packing.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/baselines.py
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python benchmarks/evaluate.py --users 4096 $(if $(RECTOOLS),--rectools $(RECTOOLS))
	$(BIN)/tcf data prepare tcf $(RAW) --out build/bench/dataset
	$(BIN)/python benchmarks/train.py --data build/bench/dataset --seconds 30 $(if $(RECTOOLS),--rectools $(RECTOOLS))

gpu-check: $(DEVELOP)
	$(BIN)/python benchmarks/gpu_check.py

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find tcf tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit("tcf needs Python 3.11 or newer; make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	touch $@

$(USE): $(SOURCES_OF_INSTALL) | $(VENV)
	$(INSTALL) --editable ".[cpu]"
	touch $@

$(DEVELOP): $(SOURCES_OF_INSTALL) | $(VENV)
	$(INSTALL) --editable ".[cpu,test,dev]"
	touch $(USE) $@

$(BENCH): $(SOURCES_OF_INSTALL) | $(VENV)
	$(INSTALL) --editable ".[cpu,bench]"
	touch $(USE) $@
