# plankroad: everything that one does with the source. `make` alone explains.
#
#   PYTHON=python3.12   the interpreter that .venv is made with (default: the first of at least 3.11 that is found)
#   VENV=.venv-3.12     another virtual environment, to keep several
#   JOBS=2              pytest workers (default: one a core)
#   ARGS="..."          arguments for `make demo`, `make paths`, `make bench`, `make fuzz`, `make check` ...

PYTHON ?=
VENV ?= .venv
JOBS ?= auto
ARGS ?=

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := $(shell find src scripts/plankroad_build.py setup.py pyproject.toml -type f -name '*.py' -o -name '*.toml' -o -name py.typed)
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations=10 --durations-min=5
FAILED_INSTALL = { echo "make: pip could not install $(1); its messages above say why (a package index must be reachable)" >&2; exit 1; }

.PHONY: help demo paths snapshots test setup lint types imports test-pure test-compiled check coverage conformance conformance-breaks mutate bench fuzz clean venv
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo     carry a file through a bad simulated network (sets up $(VENV) first)"
	@echo "make paths    measure TCP on a grid of paths; a page with plots: make paths ARGS='--html page.html'"
	@echo "make test     ruff, mypy, import direction, then pytest twice: pure Python, compiled"
	@echo "make check    the quick part of it, pure Python, without root: make check ARGS=tests/wire"
	@echo "make coverage which lines no test runs (an hour): make coverage ARGS=tests/tcp"
	@echo "make conformance  make docs/conformance*.md anew from what the tests claim"
	@echo "make conformance-breaks  break each requirement in a copy, and see that a test notices: ARGS='MUST-58 --claims'"
	@echo "make mutate   mutation testing of tcp/: make mutate ARGS='--minutes 30 --survivors'"
	@echo "make bench    measure both builds"
	@echo "make fuzz     look for inputs that break it, for minutes or hours: make fuzz ARGS='--seconds 600'"
	@echo "make snapshots  make docs/snapshots anew, to be looked at and committed"
	@echo "make clean    remove what was built, $(VENV) too"
	@echo "Set PYTHON=python3.12 for another interpreter, VENV= for another place, JOBS= for pytest's workers."

# --- the virtual environment; stamp files in it say what is installed ---

# Also replaces an environment of another Python, or one whose Python is gone.
venv:
	@scripts/make-venv "$(VENV)" "$(PYTHON)"

$(VENV)/.installed: $(SOURCES) | venv
	@echo "Installing plankroad into $(VENV); compiling takes some minutes, once, where there is a C compiler."
	@$(PIP) install . || $(call FAILED_INSTALL,plankroad)
	@$(BIN)/plankroad --version
	@touch $@
	@! $(BIN)/python -c 'import plankroad; raise SystemExit(not plankroad.is_compiled())' || touch $(VENV)/.compiled

$(VENV)/.compiled: $(SOURCES) | venv
	@echo "Installing plankroad into $(VENV), compiled; this takes some minutes."
	@PLANKROAD_BUILD=compiled $(PIP) install . || $(call FAILED_INSTALL,plankroad)
	@$(BIN)/plankroad --version
	@touch $(VENV)/.installed $@

$(VENV)/.tools: pyproject.toml scripts/test_requirements.py | venv
	@echo "Installing what the tests need into $(VENV)."
	@$(BIN)/python scripts/test_requirements.py > $(VENV)/test-requirements.txt
	@$(PIP) install -r $(VENV)/test-requirements.txt || $(call FAILED_INSTALL,the tools of the tests)
	@touch $@

setup: venv $(VENV)/.tools $(VENV)/.compiled

# --- what one runs ---

demo: venv $(VENV)/.installed
	@$(BIN)/plankroad demo $(ARGS)

$(VENV)/.plots: pyproject.toml scripts/test_requirements.py | venv
	@$(BIN)/python scripts/test_requirements.py paths > $(VENV)/plots-requirements.txt
	@$(PIP) install -r $(VENV)/plots-requirements.txt || $(call FAILED_INSTALL,what plots need)
	@touch $@

paths: venv $(VENV)/.installed $(VENV)/.plots
	@$(BIN)/plankroad paths $(ARGS)

snapshots: venv $(VENV)/.installed
	$(BIN)/python -m plankroad.paths.snapshot docs/snapshots/throughput-against-loss.txt

# pytest's closing line is the last one.
test: setup lint types imports test-pure test-compiled

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	PYTHONPATH=$(CURDIR)/src $(BIN)/python -m pytest tests/house/test_imports.py

# The source itself.
test-pure:
	PYTHONPATH=$(CURDIR)/src PLANKROAD_EXPECT=pure $(PYTEST)

# What is installed in the virtual environment, without the tests that compiling cannot change.
test-compiled:
	PLANKROAD_EXPECT=compiled $(PYTEST) -m "not either"

check: venv $(VENV)/.tools
	PYTHONPATH=$(CURDIR)/src $(BIN)/python -m pytest -m "not root and not slow" $(ARGS)

# Needs nothing but Python.
conformance: venv
	$(BIN)/python -m tests.conformance.pages

# Which lines and branches no test takes: six times as long as without.
coverage: venv $(VENV)/.tools
	PYTHONPATH=$(CURDIR)/src PLANKROAD_EXPECT=pure $(PYTEST) --cov --cov-report=term-missing $(ARGS)

conformance-breaks: venv $(VENV)/.tools
	$(BIN)/python scripts/break_requirements.py $(ARGS)

# mutmut's operators and what they need, beside the tools of the tests.
$(VENV)/.mutation: $(VENV)/.tools
	@$(PIP) install "mutmut>=3.8" || $(call FAILED_INSTALL,mutmut)
	@touch $@

mutate: venv $(VENV)/.mutation
	PYTHONPATH=$(CURDIR)/src $(BIN)/python scripts/mutate.py $(ARGS)

bench: setup
	PYTHONPATH=$(CURDIR)/src $(BIN)/python scripts/bench.py $(ARGS)
	$(BIN)/python scripts/bench.py $(ARGS)

$(VENV)/.fuzz: pyproject.toml scripts/test_requirements.py | venv
	@$(BIN)/python scripts/test_requirements.py fuzz > $(VENV)/fuzz-requirements.txt
	@$(PIP) install -r $(VENV)/fuzz-requirements.txt || $(call FAILED_INSTALL,the fuzzer)
	@touch $@

fuzz: venv $(VENV)/.installed $(VENV)/.fuzz
	@$(BIN)/python scripts/fuzz.py run $(ARGS)

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
