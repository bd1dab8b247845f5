"""The examples of docs/examples do what they say."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from asrscale.common import cli
from asrscale.training.config import TrainConfig, train_config

SWEEP = Path(__file__).parent.parent / "docs" / "examples" / "sweep.yaml"

# Prints what it is started with, a line each.
DEEPSPEED = '#!/bin/sh\nprintf "%s\\n" "$@"\n'


def values_of(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Sets of values as a sweep's agent gives them: the lowest of all, and the highest."""
    ends = [one.get("values") or [one["min"], one["max"]] for one in parameters.values()]
    return [dict(zip(parameters, (values[which] for values in ends), strict=True)) for which in (0, -1)]


def test_the_command_of_a_sweep_is_one_that_training_takes(tmp_path: Path) -> None:
    sweep = yaml.safe_load(SWEEP.read_text())
    deepspeed = tmp_path / "deepspeed"
    deepspeed.write_text(DEEPSPEED)
    deepspeed.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WANDB_RUN_ID": "abc123"}  # which the agent sets
    for chosen in values_of(sweep["parameters"]):
        flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})["args"]
        words: list[str] = []
        for word in sweep["command"]:
            macros = {"${env}": ["/usr/bin/env"], "${program}": [sweep["program"]], "${args}": flags}
            words += macros.get(word, [word])
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        quiet, program, *given = done.stdout.splitlines()
        assert (quiet, program) == ("-q", "launch/train.py") and Path(program).is_file()
        config = train_config(**cli.parse(TrainConfig, given))
        assert config.general.run == "runs/sweep/abc123" and config.data.train == ("data/cv/train",)
        assert (config.optimisation.learning_rate, config.model.dropout) == (chosen["learning_rate"], chosen["dropout"])
        assert (config.model.mask_time_prob, config.general.seed) == (chosen["mask_time_prob"], chosen["seed"])
