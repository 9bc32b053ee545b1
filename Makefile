# `make demo` and `make test` are all the set-up: Python 3.10 or newer and make.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Windows and offline mirrors: override PIP_FLAGS, e.g. make demo PIP_FLAGS="--find-links wheels"
PIP_FLAGS ?= --quiet
WORKERS ?= 2

.PHONY: demo test test-slow lint format docs sample clean

demo: $(VENV)/.train
	$(VENV)/bin/unsafe-video demo --out out/demo

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m "not slow"

test-slow: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m slow

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy unsafe_video_dataset builders

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# The pages of docs/ as a site: open site/index.html. Strict: a dead link, an unknown name or any warning fails.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

# Draw the embedded sample anew (its test fails when code and committed sample differ).
sample: $(VENV)/.train
	$(VENV)/bin/unsafe-video-build sample unsafe_video_dataset/sample/release --overwrite

# The stamp says that the environment is whole: `python -m venv` that fails half way leaves a bin/python without pip behind.
# One of an earlier version of this file, without the stamp, is kept where its pip works.
$(VENV)/.created:
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.11 …")' \
	  && rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && $(VENV)/bin/python -m pip --version >/dev/null; } \
	  || { echo "$(VENV) could not be made. Where Python says that ensurepip is missing, install it (python3-venv) and run make again." >&2; exit 1; }
	@touch $@

# The stamps are younger than what they depend on, so nothing is installed twice. constraints.txt pins every version: an
# open range of torch would pull gigabytes of CUDA.
$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/.created
	@echo 'Installing (torch is large: this takes a few minutes the first time) …'
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.created
	@echo 'Installing the test extras (a few minutes the first time) …'
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) .venv-export out site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
