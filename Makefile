# make demo    agewise on a sample photo: base install, no torch
# make test    every check that CI runs, with all extras
# make lint    the checks without the tests
# make clean   what was built here, .venv included

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/agewise predict examples/astronaut.jpg --draw demo
	@echo "The photo with its boxes and ages: $(CURDIR)/demo/astronaut.jpg"

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is younger than pyproject.toml once its install is complete: a second call installs nothing.
# torch comes first, by itself, so that no other requirement chooses its version.
$(VENV)/.demo: pyproject.toml | $(BIN)/pip
	@echo "Installing agewise into $(VENV) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	@echo "Installing agewise with all extras into $(VENV): some minutes and 6 GB the first time ..."
	@$(PIP) install $(TORCH)
	@$(PIP) install --editable '.[dev]' $(TORCH)
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "agewise needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
