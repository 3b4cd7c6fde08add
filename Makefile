# `make demo` and `make test` are all a newcomer needs: each makes .venv and installs what it lacks.

PYTHON ?= python3
VENV ?= .venv
# Versions to keep to, one `name==version` a line. CI has such a file; nobody else needs one.
CONSTRAINT ?=
# TORCH=cpu takes torch and torchvision together from the package index that TORCH_INDEX names.
TORCH ?=
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install $(if $(CONSTRAINT),--constraint $(CONSTRAINT))
EXTRAS := text,timm,tensorboard,serve

.PHONY: demo test lint types notebooks bench faults extras wheel lock clean

demo: $(VENV)/.demo
	@echo "Training on real digits. The first line comes when PyTorch is imported."
	$(BIN)/python -m learnkit.demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

notebooks: $(VENV)/.dev
	$(BIN)/python nbs/run_all.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run

# The long version of tests/faults: 50 kills of each training, 600 damages to each kind of file. The tests run a short one.
faults: $(VENV)/.dev
	LEARNKIT_FAULTS=25 $(BIN)/python -m pytest tests/faults/test_killing.py
	LEARNKIT_FAULTS=6 $(BIN)/python -m pytest tests/faults --ignore tests/faults/test_killing.py

# A wheel made from what git holds, in an environment with nothing else.
wheel: $(VENV)/.python
	$(BIN)/python .ci/fresh.py wheel $(if $(CONSTRAINT),--constraint $(CONSTRAINT))

# Each extra alone in an environment of its own.
extras: $(VENV)/.python
	$(BIN)/python .ci/fresh.py extras

# The versions of this environment, for CI to keep to.
lock: $(VENV)/.dev
	$(PIP) freeze --exclude-editable > .ci/lock.txt

# Each stamp is made again when what it was made from changes.
$(VENV)/.python:
	@$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'learnkit needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	touch $@

$(VENV)/.torch: $(VENV)/.python
ifeq ($(TORCH),cpu)
	@test -n "$(TORCH_INDEX)" || { echo "TORCH=cpu needs TORCH_INDEX=<address of a package index with CPU builds of torch and torchvision>"; exit 2; }
	$(INSTALL) --index-url $(TORCH_INDEX) torch torchvision
endif
	touch $@

$(VENV)/.demo: pyproject.toml requirements-demo.txt | $(VENV)/.torch
	@echo "Installing learnkit and PyTorch into $(VENV): a few gigabytes, once."
	$(INSTALL) --editable ".[timm]"
	$(INSTALL) --quiet --no-deps --requirement requirements-demo.txt
	touch $@

$(VENV)/.dev: pyproject.toml requirements-demo.txt requirements-data.txt $(CONSTRAINT) | $(VENV)/.torch
	@echo "Installing learnkit, PyTorch and what the tests need into $(VENV): a few gigabytes, once."
	$(INSTALL) --quiet --editable ".[$(EXTRAS)]" --group dev
	$(INSTALL) --quiet --no-deps --requirement requirements-data.txt
	# Sentences of film reviews; they are in the source distribution only.
	$(PIP) download --quiet --no-deps --no-binary :all: --dest $(VENV)/data vaderSentiment==3.3.2
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo-output
