"""Real launches on two gloo ranks for models of every family, each as small as `tiny`."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.models import ONE_OF_EACH, save_tiny_twin
from helpers.processes import background_commands, ranks_of, wait_for
from helpers.training import HELD, assert_same_run, hold, is_held, launch, metric, partitioned_zero3, short
from safetensors.torch import load_file
from transformers import AutoModelForCTC, AutoProcessor

from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch

Run = Callable[..., subprocess.CompletedProcess[str]]

OTHERS = [kind for kind in ONE_OF_EACH if kind != "wav2vec2"]
OTHERS += ["conformer rotary", "hubert batch", "adapter", "bert adapter"]
QUICK = ("wavlm", "conformer relative")
STEPS = 4


def command(
    ranks: int, shards: Path, folder: Path, model: Path, config: object, script: str = "launch/train.py"
) -> list[str]:
    """The command of a short run of a model."""
    return launch(ranks, shards, folder, *short(config, saves=2, steps=STEPS), script=script, model=model)


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in OTHERS])
def test_two_ranks_at_zero_3_train_as_one_does_and_export_a_stock_model(
    kind: str, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    model = save_tiny_twin(kind, tmp_path / "model")
    one, two = tmp_path / "one", tmp_path / "two"
    flags = short("ds_configs/zero0.json", saves=STEPS, steps=STEPS)
    settings = {str(name).removeprefix("--"): value for name, value in zip(flags[::2], flags[1::2], strict=True)}
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),))
    given = settings | {"ledger": True, "wandb": "off"}
    train(train_config(**data, **given, model=str(model), run=str(one)), Watch(one))
    done = run_command(*command(2, tone_shards, two, model, partitioned_zero3(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    expected = metric(one, "train/loss")
    assert len(expected) == STEPS and metric(two, "train/loss") == pytest.approx(expected, rel=1e-4)
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert weights.keys() == load_file(model / "model.safetensors").keys() | {"lm_head.weight", "lm_head.bias"}
    assert all(torch.allclose(weights[name], others[name], atol=1e-4) for name in weights)

    stock = AutoModelForCTC.from_pretrained(two / "model")
    assert type(stock).__name__ == type(AutoModelForCTC.from_pretrained(model)).__name__
    assert AutoProcessor.from_pretrained(two / "model").tokenizer.get_vocab()


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_a_killed_run_goes_on_bit_for_bit(kind: str, tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    """Two ranks, ZeRO-2."""
    model = save_tiny_twin(kind, tmp_path / "model")
    config = "ds_configs/zero2.json"
    expected, found = tmp_path / "expected", tmp_path / "found"
    done = run_command(*command(2, tone_shards, expected, model, config))
    assert done.returncode == 0, done.stdout + done.stderr
    with background_commands() as start:
        attempt = tmp_path / "attempt"
        process = start(command(2, tone_shards, found, model, config, script=HELD), **hold(attempt, 3))
        wait_for(is_held(attempt), process)
    wait_for(lambda: not ranks_of(found))
    done = run_command(*command(2, tone_shards, found, model, config))
    assert done.returncode == 0 and "going on from step 2" in done.stderr, done.stdout + done.stderr
    assert_same_run(found, expected)
