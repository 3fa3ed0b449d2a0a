# `make demo` and `make test` need only make and Python >= 3.11: the first run creates .venv here and installs the
# package into it with the versions of constraints.txt; later runs reuse it.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The tests never need the network, and one thread per test process uses the cores best.
TEST_ENVIRONMENT := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST_ARGS ?= -q -n logical --maxprocesses 8 --dist worksteal
DEMO_ARGS ?=
TINY_ARGS ?=

.PHONY: help demo tiny test lint format benchmark clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       tokenize, rebuild and generate video; writes outputs/demo/index.html (DEMO_ARGS='--help' for options)"
	@echo "make tiny       train a small model from nothing, through all stages, into outputs/tiny (TINY_ARGS='--scale gpu' on a GPU)"
	@echo "make test       formatting, lint and the whole test suite (PYTEST_ARGS='...' to choose tests)"
	@echo "make lint       formatting and lint only"
	@echo "make format     format the code"
	@echo "make benchmark  run every program in benchmarks/"
	@echo "make clean      remove the virtual environment, caches and outputs"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found. Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot create a virtual environment (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

# One stamp per set of extras; an environment made by hand is completed, not replaced.
$(INSTALLED)-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@

demo: $(INSTALLED)-demo
	$(BIN)/python examples/demo.py $(DEMO_ARGS)

tiny: $(INSTALLED)-train
	$(BIN)/python examples/train_tiny.py --output_dir outputs/tiny $(TINY_ARGS)

test: lint
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mlinter --no-cache --no-progress src/transformers_videolavit

format: $(INSTALLED)-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(INSTALLED)-dev
	@for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

clean:
	rm -rf $(VENV) outputs .pytest_cache .ruff_cache
