# Makes its own environment in .venv on first use, with the versions and hashes of requirements/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# Which torch: cuda, cpu, or own, the one that .venv has already (CONTRIBUTING.md).
TORCH ?= cuda
ifneq ($(words $(TORCH)) $(filter cuda cpu own,$(TORCH)),1 $(TORCH))
$(error TORCH is cuda, cpu or own, and not '$(TORCH)': see CONTRIBUTING.md)
endif

# Tools, the deepspeed launcher and the ninja it calls are those of .venv. Ranks share the cores: one thread each.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS ?= 1

CORPUS := data/demo/corpus
SHARDS := data/demo/shards
SPLITS := train=$(CORPUS)/cv-valid-train.csv,valid=$(CORPUS)/cv-valid-dev.csv,test=$(CORPUS)/cv-valid-test.csv,voices=$(CORPUS)/cv-valid-voices.csv
# The launcher takes every GPU; without one it would start a single rank.
RANKS = $$(python -c 'import os, torch; print("" if torch.cuda.is_available() else f"--num_gpus {min(2, os.cpu_count() or 1)}")')

# Nothing is installed that has not the hash of requirements/, and nothing is built by what has not.
INSTALL := .venv/bin/python -m pip install --require-hashes --no-deps --no-build-isolation
INDEX_cpu := --extra-index-url https://download.pytorch.org/whl/cpu

TOOLS := build/tools/bin
export UV_CUSTOM_COMPILE_COMMAND := make lock
LOCK = $(TOOLS)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate $(UPGRADE)
IS_TORCH := /^[^ \#]/ { is_torch = /^(cuda-|nvidia-|torch==|torchaudio==|triton==)/ }

.PHONY: demo test slow torture check reference screenshots docs bench bench-step bench-peers gpu-check lock audit licences clean help

demo: private export PYTHONSAFEPATH := 1
demo: .venv/installed  ## speak a corpus, pack it, train on it, measure the word error rate
	python -m asrscale.demo --out $(CORPUS)
	python -m asrscale.shard --csv $(SPLITS) --audio_root $(CORPUS) --out $(SHARDS)
	deepspeed -q $(RANKS) launch/train.py --config ds_configs/zero2.json --run runs/demo
	python -m asrscale.evaluate --model runs/demo/model --data $(SHARDS)/test,$(SHARDS)/voices

test: .venv/installed  ## run the tests
	pytest -q -n 2 --dist loadfile

check: .venv/installed  ## lint, format, types, shell scripts, generated documentation
	ruff check
	ruff format --check
	mypy --strict asrscale launch docs
	shellcheck .ci/run $(wildcard slurm/*.sh slurm/*.sbatch tests/*.sh tests/*/*.sh)
	python docs/make_reference.py --check
	properdocs build --strict --config-file mkdocs.yml

reference: .venv/installed  ## write docs/reference.md, every command and flag, anew from the code
	python docs/make_reference.py

slow: .venv/installed  ## run the slow tests, which repeat others with more ranks and stages
	pytest -q -m slow

torture: .venv/installed  ## break training runs on purpose, at random moments; prints what it cost (an hour)
	python tests/torture.py

screenshots: .venv/installed  ## make the pictures of pages in docs/images anew, after make demo; needs a Chromium
	python docs/make_screenshots.py

docs: .venv/installed  ## build the documentation site into build/docs
	properdocs build --strict --config-file mkdocs.yml

bench: .venv/installed  ## run the benchmarks one after another
	$(INSTALL) --quiet -r requirements/bench.txt
	for bench in $(wildcard tests/bench/bench_*.py); do python "$$bench"; done

bench-step: .venv/installed  ## the training loop beside the bare step of the model: BENCH="--data DIR --models tiny,2.7m"
	python tests/bench/bench_loop.py $(BENCH)

bench-peers: .venv/installed  ## asrscale beside the notebook, Trainer, lhotse and SpeechBrain: BENCH="--data digits=DIR --parts speed,equal-time"
	$(INSTALL) --quiet -r requirements/bench.txt
	python tests/bench/bench_peers.py $(BENCH)

gpu-check: .venv/installed  ## on a machine with GPUs, ten minutes: losses, speed, memory, rescue, NCCL; writes build/gpu-check
	python tests/gpu_check.py

lock: build/tools/installed  ## write requirements/ anew after pyproject.toml has changed; UPGRADE=--upgrade renews all versions
	cat requirements/libraries.txt requirements/torch-cuda.txt >build/lock.txt
	cp requirements/bench.txt build/bench.txt
	$(LOCK) pyproject.toml --extra demo --extra dev --output-file build/lock.txt
	$(LOCK) --group bench --constraints build/lock.txt --output-file build/bench.txt
	$(LOCK) --group build --constraints build/lock.txt --output-file requirements/build.txt
	$(LOCK) --group tools --output-file requirements/tools.txt
	awk '$(IS_TORCH) /^#/ || is_torch' build/lock.txt >requirements/torch-cuda.txt
	awk '$(IS_TORCH) !is_torch' build/lock.txt >requirements/libraries.txt
	awk '$(IS_TORCH) !is_torch' build/bench.txt >requirements/bench.txt

audit: build/tools/installed  ## look for known holes in requirements/; needs the network, and fails without it
	$(TOOLS)/pip-audit --strict --disable-pip --require-hashes \
	  $(addprefix -r requirements/,libraries.txt torch-cuda.txt build.txt bench.txt tools.txt)

licences: .venv/installed build/tools/installed  ## print the licences of all that is installed
	@$(TOOLS)/pip-licenses --python .venv/bin/python --order license --format markdown --with-urls

clean:  ## remove the environment and the caches; data/ and runs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z-]*\):.*  ## /make \1\t/p' Makefile | expand -t 16

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "asrscale needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml $(wildcard requirements/*.txt) | .venv/bin/python
	$(INSTALL) -r requirements/build.txt
	$(INSTALL) -r requirements/libraries.txt
ifneq ($(TORCH),own)
	$(INSTALL) $(INDEX_$(TORCH)) -r requirements/torch-$(TORCH).txt
endif
	.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
	.venv/bin/python -m pip check || [ $(TORCH) = cpu ]  # which is without torchaudio
	touch $@

build/tools/installed: requirements/tools.txt
	$(PYTHON) -m venv build/tools
	$(TOOLS)/python -m pip install --require-hashes --no-deps -r requirements/tools.txt
	touch $@
