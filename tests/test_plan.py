import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.planned import architecture_file

from asrscale.common.cli import parse
from asrscale.common.errors import CliError
from asrscale.memory.gpus import GPUS
from asrscale.plan import plan, plan_options
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.memory_plan import SEARCHED


def test_the_command_prints_a_plan_and_writes_a_page(
    tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data = ["--train", tone_shards / "train", "--valid", tone_shards / "valid"]
    words = [sys.executable, "-m", "asrscale.plan", "--model", "tiny", "--gpu"]
    done = run_command(*words, "t4-16", "--html", tmp_path / "plan.html", *data)
    assert done.returncode == 0, done.stderr
    assert "deepspeed --num_gpus 1 launch/train.py --model tiny --config ds_configs/zero2.json" in done.stdout
    assert "steps an epoch" in done.stdout and "activations" in done.stdout
    page = (tmp_path / "plan.html").read_text()
    assert "zero2_offload, checkpointing every layer" in page and "<script" not in page and "http" not in page
    for curve in ("forward and loss", "backward", "optimizer step", "every layer"):
        assert f">{curve}</span>" in page
    assert page.count("<polyline") == 8
    wrong = run_command(*words, "mega")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "--gpu mega: give the GiB" in wrong.stderr


def test_given_flags_are_kept_to_and_repeated_in_the_command(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ways_of(**given: Any) -> tuple[set[str], set[int], set[float], TrainConfig]:
        """Configurations, checkpointing and caps that were tried, and the settings of a run by the printed command."""
        plan(plan_options(gpu="t4-16", json=True, **given))
        ways = json.loads(capsys.readouterr().out)
        plan(plan_options(gpu="t4-16", **given))
        [command] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("deepspeed")]
        words = shlex.split(command.partition(" launch/train.py ")[2])
        found = ({way[name] for way in ways} for name in ("config", "activation_checkpointing", "cap_seconds"))
        return *found, train_config(**parse(TrainConfig, words))

    data = {name: (str(tone_shards / name),) for name in ("train", "valid")}
    kept = data | dict(model="tiny", epochs=2.5, precision="fp32", run=str(tmp_path / "a b"), perturb_speed=True)
    configs, tried, caps, run = ways_of(**kept)
    assert configs == {"ds_configs/zero2.json", "ds_configs/zero2_offload.json"} and tried == {0, 1, 2, 4}
    assert run.memory.config in configs and run.memory.activation_checkpointing in tried
    assert run.memory.memory_cap_seconds in caps
    assert run == train_config(**kept, **{name: getattr(run.memory, name) for name in SEARCHED})
    kept |= dict(config="ds_configs/zero3.json")
    configs, tried, *_ = ways_of(**kept)
    assert configs == {kept["config"]} and tried == {0, 1, 2, 4}
    kept |= dict(activation_checkpointing=3, memory_cap_seconds=7.5, memory_gib=2.0)
    assert ways_of(**kept) == ({kept["config"]}, {3}, {7.5}, train_config(**kept))
    model = architecture_file(tmp_path, "XLS-R 1B")
    with pytest.raises(CliError, match=r"in no way: leave out --activation_checkpointing, choose a smaller --model"):
        plan(plan_options(model=model, gpu="8", activation_checkpointing=0))


def test_what_does_not_fit_is_reported_with_what_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = architecture_file(tmp_path, "large-960h")
    with pytest.raises(CliError, match=r"an utterance of 20 s fits 1 × 1 in no way: choose a smaller --model"):
        plan(plan_options(model=model, gpu="1"))
    with pytest.raises(CliError, match="--gpus 0: give 1 or more"):
        plan(plan_options(model=model, gpus=0))
    capsys.readouterr()
    plan(plan_options(model="tiny", json=True))
    assert {way["gpu"]["name"] for way in json.loads(capsys.readouterr().out)} == set(GPUS)
