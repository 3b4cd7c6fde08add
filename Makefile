# `make demo` and `make test` are all a newcomer needs: each makes .venv and installs what it lacks.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Installed again when the list of requirements changes.
READY := $(VENV)/.ready

.PHONY: demo test lint types notebooks bench faults clean

demo: $(READY)
	$(BIN)/python -m learnkit.demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

notebooks: $(READY)
	$(BIN)/python nbs/run_all.py

bench: $(READY)
	$(BIN)/python -m benchmarks.run

$(READY): pyproject.toml requirements-data.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-data.txt
	# Sentences of film reviews; they are in the source distribution only.
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $(VENV)/data vaderSentiment==3.3.2
	touch $(READY)

# The long version of tests/faults: 50 kills of each training, 600 damages to each kind of file. The tests run a short one.
faults: $(READY)
	LEARNKIT_FAULTS=25 $(BIN)/python -m pytest tests/faults/test_killing.py
	LEARNKIT_FAULTS=6 $(BIN)/python -m pytest tests/faults --ignore tests/faults/test_killing.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo-output
