# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Every target keeps to its own virtual environment in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# pip would compile all of torch, most of which is never used: what is used is compiled, and kept, when it is first read.
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-card test-all test-jobs test-spaces lint bench docs docs-messages dist clean

$(VENV)/demo.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing Hasama into $(VENV) (a minute or two the first time) ..."
	$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing Hasama and its test tools into $(VENV) (a few minutes the first time) ..."
	$(PIP) --editable '.[dev]'
	@touch $@

# Threads that sleep while they wait: on a core that is shared, spinning ones make training three times as slow.
demo test test-all test-jobs: export OMP_WAIT_POLICY := passive
demo: $(VENV)/demo.stamp  ## install, train a DCGAN on handwritten digits, write pictures
	@$(BIN)/hasama train digits demo --out runs/demo
	@$(BIN)/hasama sample runs/demo --count 64 --seed 1 --out runs/demo/digits.png
	@$(BIN)/hasama interpolate runs/demo --out runs/demo/interpolation.gif

# Three workers on two cores: many tests wait for a process of their own.
test: $(VENV)/dev.stamp  ## everything but the slow tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-card: $(VENV)/dev.stamp  ## what needs an NVIDIA card, which the other tests do not see
	HASAMA_TEST_ON_CARD=1 $(BIN)/python -m pytest tests/training/test_graphs.py

test-all: $(VENV)/dev.stamp  ## the slow tests too
	$(BIN)/python -m pytest -n 3 --dist worksteal -m ''

# The job files, held against what the clusters' own packages take: some hundred megabytes, hence apart.
JOBS := .venv-jobs
$(JOBS)/stamp: pyproject.toml constraints.txt
	@test -x $(JOBS)/bin/pip || $(PYTHON) -m venv $(JOBS)
	@echo "Installing Hasama and the packages of Azure ML, Kubeflow and SkyPilot into $(JOBS) (a few minutes) ..."
	$(JOBS)/bin/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[test-jobs]'
	@touch $@

test-jobs: export HOME := $(CURDIR)/$(JOBS)
test-jobs: $(JOBS)/stamp
	$(JOBS)/bin/python -m pytest tests/cluster -m ''
# An environment of its own: Gradio wants an older Pillow than the other tests are run with.
$(VENV)-spaces/stamp: pyproject.toml constraints.txt
	@test -x $(VENV)-spaces/bin/pip || $(PYTHON) -m venv $(VENV)-spaces
	$(VENV)-spaces/bin/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
		--editable '.[spaces,video]' pytest hypothesis beartype packaging pyyaml
	@touch $@

test-spaces: $(VENV)-spaces/stamp  ## the page for visitors (spaces/), started and asked
	OMP_WAIT_POLICY=passive $(VENV)-spaces/bin/python -m pytest tests/ground/test_spaces.py

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

$(VENV)/docs.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing Hasama and what builds its documentation into $(VENV) (a minute or two the first time) ..."
	$(PIP) --editable '.[docs]'
	@touch $@

docs: $(VENV)/docs.stamp  ## the documentation in English and Kiswahili, into build/docs
	@$(BIN)/python scripts/build_docs.py

docs-messages: $(VENV)/docs.stamp  ## after the English pages have changed: what is to be translated anew
	@$(BIN)/python scripts/build_docs.py --messages

bench: $(VENV)/dev.stamp  ## what docs/benchmarks.md claims about speed and memory, measured here
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/dcgan_speed.py
	$(BIN)/python benchmarks/dense_speed.py
	$(BIN)/python benchmarks/style_speed.py
	$(BIN)/python benchmarks/style_memory.py
	$(BIN)/python benchmarks/ladder_costs.py
	$(BIN)/python benchmarks/stylegan_speed.py --width 64

dist:  ## the wheel and the sdist, in dist/, checked as an index would; see CONTRIBUTING.md
	@test -x $(VENV)-release/bin/pip || $(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/pip install --quiet --disable-pip-version-check build twine cffconvert
	rm -rf dist
	$(VENV)-release/bin/python -m build
	$(VENV)-release/bin/twine check --strict dist/*
	$(VENV)-release/bin/cffconvert --validate

clean:
	rm -rf $(VENV) $(JOBS) $(VENV)-spaces $(VENV)-release runs build dist
