# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

export OMP_WAIT_POLICY := passive
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: install demo test unit check format lint types clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11: give another one with make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'trackers>=2.6,<3'
	touch $@

# The main job without any download: generate scenes, train, evaluate, detect, look inside.
demo: install
	rm -rf demo
	$(BIN)/rtmdet data synthesize --out demo/data --train 400 --val 100 --size 192 192
	$(BIN)/rtmdet data show demo/data/val/annotations.json --images demo/data/val/images --out demo
	$(BIN)/python train.py --config configs/demo.yaml
	$(BIN)/rtmdet evaluate --weights demo/run/best.pth --annotations demo/data/val/annotations.json \
		--images demo/data/val/images
	$(BIN)/python infer.py demo/data/val/images --weights demo/run/best.pth --out demo/detections
	$(BIN)/python visualize.py demo/data/val/images/000017.jpg --weights demo/run/best.pth --layer neck --out demo
	$(BIN)/python visualize.py demo/data/val/images/000017.jpg --weights demo/run/best.pth --method gradcam \
		--layer 'neck.out_convs[0]' --layer 'neck.out_convs[1]' --out demo
	@echo
	@echo "Look at: demo/annotations.png (the generated scenes), demo/run/curves.png (losses, rate, AP),"
	@echo "demo/detections/ (boxes on all validation images), demo/000017_*.png (feature maps and Box AM)."

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

unit: install
	$(BIN)/python -m pytest -m 'not slow and not shared'

check: format lint types test

format: install
	$(BIN)/ruff format --check

lint: install
	$(BIN)/ruff check

types: install
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
