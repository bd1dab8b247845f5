import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.planned import architecture_file

from asrscale.common.cli import parse
from asrscale.common.errors import CliError
from asrscale.memory.gpus import GPUS
from asrscale.plan import plan
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.memory_plan import SEARCHED
from asrscale.training.plan_options import plan_options


def test_the_command_prints_a_plan_and_writes_a_page(
    tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data = ["--train", tone_shards / "train", "--valid", tone_shards / "valid"]
    words = [sys.executable, "-m", "asrscale.plan", "--model", "tiny", "--gpu"]
    done = run_command(*words, "t4-16", "--html", tmp_path / "plan.html", *data)
    assert done.returncode == 0, done.stderr
    assert "deepspeed -q --num_gpus 1 launch/train.py --model tiny --config ds_configs/zero2.json" in done.stdout
    assert "steps an epoch" in done.stdout and "activations" in done.stdout
    page = (tmp_path / "plan.html").read_text()
    assert (
        "zero2_offload, checkpointing every layer" in page and "<script" not in page and not re.search("https?:", page)
    )
    for curve in ("forward and loss", "backward", "optimizer step", "every layer"):
        assert f"<bdi>{curve}</bdi>" in page
    assert page.count("<polyline") == 8
    for axis in ("time in seconds", "memory of a GPU in GiB", "time of an optimizer step in seconds"):
        assert f'-label">{axis}</span>' in page
    text = " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())
    assert "tiny is trained on one t4-16 with DeepSpeed's zero2; all activations are kept." in text
    [command] = [line for line in done.stdout.splitlines() if line.startswith("deepspeed")]
    [on_lines] = re.findall("<code>(.*?)</code>", page, re.DOTALL)
    assert shlex.split(html.unescape(on_lines).replace("\\\n", "")) == shlex.split(command)
    for number in re.findall(r"([\d,]+) steps of", done.stdout):
        assert f"Steps {number} of" in text and f"{number} steps of" in text
    wrong = run_command(*words, "mega")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "--gpu mega: give the GiB" in wrong.stderr


@dataclass(frozen=True)
class Tried:
    """What the planner tried, and the settings of a run by the command that it printed."""

    configs: set[str]
    checkpointing: set[int]
    caps_seconds: set[float]
    run: TrainConfig


@pytest.fixture
def tried(capsys: pytest.CaptureFixture[str]) -> Callable[..., Tried]:
    """Plans for a T4 with given flags."""

    def run_planner(**given: Any) -> Tried:
        plan(plan_options(gpu="t4-16", json=True, **given))
        ways = json.loads(capsys.readouterr().out)
        plan(plan_options(gpu="t4-16", **given))
        printed = capsys.readouterr().out.splitlines()
        [command] = [line for line in printed if line.startswith("deepspeed")]
        words = shlex.split(command.partition(" launch/train.py ")[2])
        return Tried(
            configs={way["config"] for way in ways},
            checkpointing={way["activation_checkpointing"] for way in ways},
            caps_seconds={way["cap_seconds"] for way in ways},
            run=train_config(**parse(TrainConfig, words)),
        )

    return run_planner


@pytest.fixture
def flags(tone_shards: Path, tmp_path: Path) -> dict[str, Any]:
    """Flags that the planner does not search for, with values other than the defaults."""
    return dict(
        train=(str(tone_shards / "train"),),
        valid=(str(tone_shards / "valid"),),
        model="tiny",
        epochs=2.5,
        precision="fp32",
        run=str(tmp_path / "a b"),
        perturb_speed=True,
        augment=f"noise={tone_shards}/valid:5..9dB@0.3,gain",
    )


def test_the_command_repeats_given_flags_and_adds_those_that_were_found(
    tried: Callable[..., Tried], flags: dict[str, Any]
) -> None:
    result = tried(**flags)
    assert result.configs == {"ds_configs/zero2.json", "ds_configs/zero2_offload.json"}
    assert result.checkpointing == {0, 1, 2, 4}
    memory = result.run.memory
    assert memory.config in result.configs and memory.activation_checkpointing in result.checkpointing
    assert memory.memory_cap_seconds in result.caps_seconds
    assert result.run == train_config(**flags, **{name: getattr(memory, name) for name in SEARCHED})


def test_a_given_configuration_is_kept_to(tried: Callable[..., Tried], flags: dict[str, Any]) -> None:
    result = tried(**flags, config="ds_configs/zero3.json")
    assert result.configs == {"ds_configs/zero3.json"}
    assert result.checkpointing == {0, 1, 2, 4}


def test_nothing_is_searched_where_all_is_given(tried: Callable[..., Tried], flags: dict[str, Any]) -> None:
    flags |= dict(config="ds_configs/zero3.json", activation_checkpointing=3, memory_cap_seconds=7.5, memory_gib=2.0)
    assert tried(**flags) == Tried(
        configs={"ds_configs/zero3.json"},
        checkpointing={3},
        caps_seconds={7.5},
        run=train_config(**flags),
    )


def test_a_folder_of_noise_that_a_run_would_refuse_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(CliError, match="--augment noise=/nowhere: there is no such folder"):
        plan(plan_options(gpu="t4-16", **flags | {"augment": "gain,noise=/nowhere"}))


def test_the_plan_of_a_mix_counts_what_an_epoch_visits(
    tone_shards: Path, flags: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def steps_of(*train: str, **given: float) -> int:
        plan(plan_options(gpu="t4-16", **flags | {"train": train} | given))
        printed = capsys.readouterr().out
        assert f"--train {','.join(train)} " in printed and ("\nmix: " in printed) == (len(train) > 1)
        return int(re.search(r"^([\d,]+) steps an epoch", printed, re.MULTILINE)[1])

    a, b = str(tone_shards / "train"), str(tone_shards / "valid")
    assert steps_of(a) < steps_of(a, b, mix_temperature=3.0) < steps_of(a, f"{b}=2.5")


def test_what_does_not_fit_is_reported_with_what_to_change(tmp_path: Path) -> None:
    model = architecture_file(tmp_path, "large-960h")
    with pytest.raises(CliError, match=r"an utterance of 20 s fits 1 × 1 in no way: choose a smaller --model"):
        plan(plan_options(model=model, gpu="1"))
    with pytest.raises(CliError, match="--gpus 0: give 1 or more"):
        plan(plan_options(model=model, gpus=0))


def test_a_given_flag_that_keeps_it_from_fitting_is_to_be_left_out(tmp_path: Path) -> None:
    model = architecture_file(tmp_path, "XLS-R 1B")
    with pytest.raises(CliError, match=r"in no way: leave out --activation_checkpointing, choose a smaller --model"):
        plan(plan_options(model=model, gpu="8", activation_checkpointing=0))


def test_without_a_gpu_all_known_ones_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    plan(plan_options(model="tiny", json=True))
    assert {way["gpu"]["name"] for way in json.loads(capsys.readouterr().out)} == set(GPUS)


def test_the_title_of_a_comparison_says_each_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    plan(plan_options(model="tiny", gpus=2))
    assert capsys.readouterr().out.startswith("tiny on 2 × each GPU, utterances of 20 s and less\n")
