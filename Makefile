# make setup      set everything up: .venv/bin/otoscope
# make demo       set everything up and run the main job, offline, on built-in data
# make test       set everything up and pass the tests, but for the slow ones
# make test-all   pass the slow ones too (a Chromium on the PATH, cluster, fuzz, wheels; docs/scale.md: what a cluster needs)
# make fuzz       10,000 damaged and odd inputs, about 15 minutes on two cores
# PYTHON=python3.12   instead of 3.11 or, where that does not run, the newest of 3.12 to 3.14 that does
# TORCH_INDEX=https://download.pytorch.org/whl/cpu   take PyTorch's CPU build where a GPU build is not wanted

export PYTHON TORCH_INDEX
VENV ?= .venv
OUT ?= runs/demo
BIN := $(VENV)/bin

.PHONY: setup demo test test-all lint fuzz bench mini clean

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/otoscope demo --out $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/.installed-browser
	OTOSCOPE_THOROUGH=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/fuzz.py

bench: $(VENV)/.installed-dev  ## about half an hour on 2 quiet cores; benchmarks/README.md says what each shows
	$(BIN)/python benchmarks/lasso.py
	$(BIN)/python benchmarks/probes.py
	$(BIN)/python benchmarks/ground_truth.py
	$(BIN)/python benchmarks/saes.py
	$(BIN)/python benchmarks/extraction.py overhead published stem precision memory stream --clips 4 --rounds 3

mini: $(VENV)/.installed-dev  ## pretrain the built-in model anew (about 15 to 40 minutes on 2 cores)
	$(BIN)/python training/otoscope_mini/train.py --out runs/mini

$(VENV)/.installed: pyproject.toml constraints.txt .ci/set_up
	@.ci/set_up $(VENV)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@.ci/set_up $(VENV) dev
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-dev
	@.ci/set_up $(VENV) dev,browser
	@touch $@

clean:
	rm -rf $(VENV) runs build src/*.egg-info
