# make demo   set everything up and run the main job, offline, on built-in data
# make test   set everything up and pass the tests
# TORCH_INDEX=https://download.pytorch.org/whl/cpu   take PyTorch's CPU build where a GPU build is not wanted

PYTHON ?= python3.11
VENV ?= .venv
OUT ?= runs/demo
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(PIP) install -q -c constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.PHONY: demo test lint bench mini clean

demo: $(VENV)/.installed
	$(BIN)/otoscope demo --out $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev  ## about half an hour on 2 quiet cores; benchmarks/README.md says what each shows
	$(BIN)/python benchmarks/lasso.py
	$(BIN)/python benchmarks/probes.py
	$(BIN)/python benchmarks/ground_truth.py
	$(BIN)/python benchmarks/saes.py
	$(BIN)/python benchmarks/extraction.py overhead published stem precision memory stream --clips 4 --rounds 3

mini: $(VENV)/.installed-dev  ## pretrain the built-in model anew (about 15 to 40 minutes on 2 cores)
	$(BIN)/python training/otoscope_mini/train.py --out runs/mini

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(TORCH)
	$(PIP) install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs build src/*.egg-info
