# make quickstart: set up and run the main job on what ships with the project (ARGS="--steps 5" passes settings on).
# make test: set up and run the tests. make test-slow: some that CI runs besides. make test-chaos: those that take too long
# for every day.
# make bench: time the quickstart's steps.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: quickstart test test-slow test-chaos bench lint

quickstart: $(INSTALLED)
	$(VENV)/bin/python ray_job.py $(ARGS)

test: $(INSTALLED) lint
	$(VENV)/bin/python -m pytest -m "not ray and not chaos and not slow" -n 2 --dist loadfile
	$(VENV)/bin/python -m pytest -m "ray and not chaos and not slow"

test-slow: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m "slow and not ray" -n 2 --dist worksteal
	$(VENV)/bin/python -m pytest -m "slow and ray"

test-chaos: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m chaos

bench: $(INSTALLED)
	$(VENV)/bin/python ray_job.py bench --bench.steps 10 $(ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(INSTALLED): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -r requirements.lock
	touch $@
