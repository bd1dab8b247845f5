"""The commands of the README and of `make demo`, run as written; only models and sizes are made small."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, write_corpus

Run = Callable[..., subprocess.CompletedProcess[str]]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TRAINING_GUIDE = (REPOSITORY / "docs/guide/training.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty working folder that has what a checkout has."""
    for name in ("launch", "ds_configs", "asrscale"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def indented_commands(first_word: str) -> list[str]:
    """The commands in README's indented blocks, continuation lines joined."""
    blocks = re.sub(r"\\\n\s*", "", README)
    return [line.strip() for line in blocks.splitlines() if line.startswith(f"    {first_word} ")]


def python_blocks() -> list[str]:
    """The code of README's fenced Python blocks."""
    return re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_commands_for_own_recordings_work_as_written(checkout: Path, run_command: Run) -> None:
    write_corpus(checkout / "cv", utterances=60)
    os.rename(checkout / "cv" / "corpus.csv", checkout / "cv-valid-train.csv")
    for name in ("meeting.mp3", "call.wav", "speech.wav"):
        (checkout / name).symlink_to("cv/clip-0001.wav")
    shard, evaluate, transcribe = indented_commands("python")
    (train,) = indented_commands("deepspeed")
    # No hub, no GPU and a port of its own here; seconds instead of days, but enough to learn a word.
    small = "--model tiny --max_steps 60 --warmup_steps 5 --wandb off"
    assert "--model facebook/wav2vec2-base-960h" in train
    train = train.replace("--model facebook/wav2vec2-base-960h", small)
    train = train.replace("deepspeed ", "deepspeed --master_port 29571 ")
    printed = {}
    for command in (shard, train, evaluate, transcribe):
        done = run_command("bash", "-c", command, cwd=checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed[command] = done.stdout
    assert "data/cv/valid" in printed[evaluate]
    assert "WER" in printed[evaluate]
    assert (checkout / "data/cv/rejected.jsonl").is_file()
    assert "<html" in (checkout / "valid.html").read_text()
    assert len((checkout / "transcripts.jsonl").read_text().splitlines()) == 2

    of_call = json.loads((checkout / "transcripts.jsonl").read_text().splitlines()[1])
    assert of_call["text"]
    blocks = python_blocks()
    assert len(blocks) == 2
    for block in blocks:
        done = run_command(sys.executable, "-c", block, cwd=checkout)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{of_call['text']}\n", "the same recording has another text"

    left = TRAINING_GUIDE.split("## What a run leaves")[1].split("##")[0]
    columns = re.findall(r"^ {4}(?:runs/cv/)? *(\S+(?: \S+)*)  ", left, flags=re.MULTILINE)
    names = {name for column in columns for name in column.split()}
    names -= {"quarantine.jsonl", "skipped.jsonl"}  # of damage
    names -= {"heartbeat/"}  # of runs longer than half a minute
    names -= {"unaugmented/"}  # of --augment
    assert len(names) >= 9
    for name in names:
        assert (checkout / "runs" / "cv" / name).exists(), name


def test_make_demo_works_from_nothing(checkout: Path, run_command: Run) -> None:
    pytest.importorskip("espeakng_loader", reason="the demo corpus needs espeakng-loader")
    printed = run_command("make", "--no-print-directory", "--dry-run", "demo").stdout.splitlines()
    commands = [line for line in printed if line.startswith(("python -m asrscale", "deepspeed"))]
    assert [re.search(r"asrscale\.\w+|launch/train", line)[0] for line in commands] == [
        "asrscale.demo", "asrscale.shard", "launch/train", "asrscale.evaluate",
    ]  # fmt: skip
    for command in commands:
        command += " --utterances 40" * ("asrscale.demo" in command)
        command += " --max_steps 6 --warmup_steps 1 --wandb off" * ("launch/train" in command)
        command = command.replace("deepspeed ", "deepspeed --master_port 29572 ")
        done = run_command("bash", "-c", command, cwd=checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "data/demo/shards/voices" in done.stdout and (checkout / "runs" / "demo" / "model").is_dir()


def test_the_two_commands_are_targets_of_make(run_command: Run) -> None:
    assert indented_commands("make")[0].startswith("make demo") and indented_commands("make")[1].startswith("make test")
    assert run_command("make", "--no-print-directory", "help").stdout.startswith("make demo")
