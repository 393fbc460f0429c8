# Everything here installs what it needs from the package registries into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTED := $(VENV)/.tested

.PHONY: demo test hard lint bench docs clean

demo: $(READY)
	$(BIN)/fillgap demo

test: lint docs
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# What takes minutes: whole goldens, the build of the bundled data, long fuzz.
hard: $(TESTED)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m hard

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(TESTED)
	$(BIN)/mkdocs build --strict --quiet

bench: $(TESTED)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# PyTorch comes first: what needs it would else bring its own build, several GB with CUDA. open_clip
# lies apart with its torchvision, which transformers would find, and cannot load beside this PyTorch.
$(TESTED): $(READY)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --group test --group docs
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/open-clip \
		open_clip_torch==3.3.0 torchvision==0.28.0 timm ftfy wcwidth
	touch $@

clean:
	rm -rf $(VENV) site
