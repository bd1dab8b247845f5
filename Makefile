# Makes its own environment in .venv on first use, with the versions of constraints.txt.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH ?= torch torchaudio  # what to install as torch: CONTRIBUTING.md tells when to change it

# Tools, the deepspeed launcher and the ninja it calls are those of .venv. Ranks share the cores: one thread each.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS ?= 1

CORPUS := data/demo/corpus
SHARDS := data/demo/shards
SPLITS := train=$(CORPUS)/cv-valid-train.csv,valid=$(CORPUS)/cv-valid-dev.csv,test=$(CORPUS)/cv-valid-test.csv,voices=$(CORPUS)/cv-valid-voices.csv
# The launcher takes every GPU; without one it would start a single rank.
RANKS = $$(python -c 'import os, torch; print("" if torch.cuda.is_available() else f"--num_gpus {min(2, os.cpu_count() or 1)}")')

.PHONY: demo test slow torture check reference docs bench gpu-check clean help

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

docs: .venv/installed  ## build the documentation site into build/docs
	properdocs build --strict --config-file mkdocs.yml

bench: .venv/installed  ## run the benchmarks one after another
	python -m pip install -q -c constraints.txt -e '.[bench]'
	for bench in $(wildcard tests/bench/bench_*.py); do python "$$bench"; done

gpu-check: .venv/installed  ## on a machine with GPUs: fp16, NCCL, attention kernels, predicted and measured memory
	python tests/gpu_check.py

clean:  ## remove the environment and the caches; data/ and runs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z-]*\):.*  ## /make \1\t/p' Makefile | expand -t 16

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "asrscale needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/python -m pip install -c constraints.txt $(TORCH)
	.venv/bin/python -m pip install -c constraints.txt -e '.[demo,dev]'
	touch $@
