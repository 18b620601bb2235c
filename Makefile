# Every target installs what it needs into .venv: in a fresh clone run `make demo` or `make test`.
# `make PYTHON=python3.12 test` selects the interpreter.

PYTHON ?= python3
VENV := .venv
N ?= 20000
BIN := $(VENV)/bin
SOURCES := $(wildcard nephi/kernels/*.[ch]) setup.py nephi/report/viewer/niivue.py
# In a separate environment, because it needs an older version of the package `packaging`.
SNAKEMAKE := snakemake==9.27.1
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test lint docs verified clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.nephi-installed ## register a synthetic lung CT pair (nephi demo)
	$(BIN)/nephi demo

test: lint ## run lint, then all tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile

fuzz: $(VENV)/.dev-installed ## fuzz the file readers with N mutated files (make fuzz N=20000)
	$(BIN)/python -m tests.fuzz $(N)

lint: $(VENV)/.dev-installed ## check style, formatting and types (ruff, mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs-installed ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict
	@echo "Open site/index.html"

verified: $(VENV)/.hashes-verified ## install all dependencies except torch with verified hashes, as CI does

clean: ## remove the virtual environment, build outputs and caches
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f nephi/report/viewer/static/niivue.umd.js
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip verifies the hash of every file before it installs any. nephi is installed in place, and torch has different builds
# for different machines, so neither has a hash: the targets below install these two and find the rest installed.
$(VENV)/.hashes-verified: hashes.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r hashes.txt
	@touch $@

# Three stamp files, so that `make demo` does not wait for the development tools.
$(VENV)/.nephi-installed: pyproject.toml constraints.txt $(SOURCES)
	@echo "Installing nephi into $(VENV); the first time this takes a few minutes."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

# All extras (ANTs, elastix, Lightning Fabric, mkdocs, Nipype ...) in one call, because each call rebuilds the kernels. If
# one of them cannot be installed, the extras are installed one by one, and the tests that need the missing one skip.
$(VENV)/.dev-installed: pyproject.toml constraints.txt $(SOURCES)
	@echo "Installing nephi and its development tools into $(VENV); the first time this takes a few minutes."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e ".[dev]"
	-$(PIP_INSTALL) -e ".[interop,train,docs,examples]" || \
		for extra in interop train docs examples; do $(PIP_INSTALL) -e ".[$$extra]"; done
	-$(PYTHON) -m venv $(VENV)/snakemake && $(VENV)/snakemake/bin/pip install -q --disable-pip-version-check $(SNAKEMAKE)
	@touch $@ $(VENV)/.nephi-installed

$(VENV)/.docs-installed: pyproject.toml constraints.txt $(SOURCES)
	@echo "Installing nephi and mkdocs into $(VENV); the first time this takes a few minutes."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e ".[docs]"
	@touch $@ $(VENV)/.nephi-installed
