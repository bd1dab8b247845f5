"""Whole runs by the command that users have: speed with everything on, going on, and running out of memory."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

from gpu.machine import ON_CPU, Finding, half_precision
from gpu.models import write_model

ROOT = Path(__file__).parents[2]
UTTERANCES = 40 if ON_CPU else 1_500
STEPS = 6 if ON_CPU else 60
RESUME_STEPS = 6


def runs() -> Iterator[Finding]:
    """Yields what whole runs do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_shards(folder)
        yield resumed_run(folder, shards)
        yield rescued_run(folder, shards)
        yield whole_run(folder, shards)


def make_shards(folder: Path) -> Path:
    """Shards of a corpus of tones."""
    from conftest import write_corpus

    table = write_corpus(folder / "corpus", UTTERANCES)
    run_python("-m", "asrscale.shard", "--csv", table, "--out", folder / "shards", "--valid_fraction", 0.1)
    return folder / "shards"


def run_python(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository; raises where it fails."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2_000:]}")
    return done


def train(run: Path, shards: Path, *flags: object, script: object = "launch/train.py") -> str:
    """Trains; what it printed."""
    data = ["--train", shards / "train", "--valid", shards / "valid", "--run", run, "--wandb", "off"]
    return run_python(script, *data, "--log_steps", 1, *flags).stderr


def metrics(run: Path, name: str) -> list[float]:
    """The values of a metric, step by step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def resumed_run(folder: Path, shards: Path) -> Finding:
    """A run that was ended in its middle, beside one that was not."""
    small = ["--model", "tiny", "--max_steps", RESUME_STEPS, "--warmup_steps", 2, "--batch_seconds", 4]
    small += ["--units_per_step", 1, "--eval_steps", RESUME_STEPS, "--save_steps", RESUME_STEPS // 2]
    train(folder / "whole", shards, *small)
    ended = folder / "again"
    train(ended, shards, *small)
    _forget_the_end(ended)
    train(ended, shards, *small)
    one, other = (load_file(run / "model/model.safetensors") for run in (folder / "whole", ended))
    worst = max(float((one[name] - other[name]).abs().max()) for name in one)
    return Finding("a run that goes on", f"its weights differ by {worst:.1e} at most", worst > 1e-6, {"worst": worst})


def _forget_the_end(run: Path) -> None:
    """Leaves of a run what it had when it was half done."""
    shutil.rmtree(run / "model")
    (run / "results.json").unlink()
    newest = sorted((run / "checkpoints").glob(f"*{RESUME_STEPS}"))
    for folder in newest:
        shutil.rmtree(folder)


def rescued_run(folder: Path, shards: Path) -> Finding:
    """A run that is told that there is more memory than there is."""
    model = write_model(folder, "base")
    seconds = 12 if ON_CPU else 160  # of base in 16 bits some 9 GiB, where little_memory.py allows less
    flags = ["--model", model, "--max_steps", 3, "--warmup_steps", 1, "--batch_seconds", seconds]
    flags += ["--units_per_step", 1, "--memory_cap_seconds", seconds, "--eval_steps", 3, "--save_steps", 3]
    script = "tests/ranks/short_of_memory.py" if ON_CPU else "tests/gpu/little_memory.py"
    os.environ["OOM"] = "forward 50 0 1 6"  # on a CPU torch is made to raise it
    printed = train(folder / "rescued", shards, *flags, script=script)
    rescues = (folder / "rescued/rescues.jsonl").read_text().splitlines()
    lines = [line for line in printed.splitlines() if "memory ran out" in line]
    is_wrong = not rescues or not (folder / "rescued/model").exists()
    return Finding("out of memory", f"{len(rescues)} rescues; {lines[0] if lines else 'nothing was printed'}", is_wrong)


def whole_run(folder: Path, shards: Path) -> Finding:
    """The speed that a run reports of itself, with loading, masks, metering and logging."""
    flags = ["--model", write_model(folder, "base"), "--max_steps", STEPS, "--warmup_steps", 2]
    flags += ["--eval_steps", STEPS, "--save_steps", STEPS]
    flags += ["--batch_seconds", 8] if ON_CPU else []
    train(folder / "speed", shards, *flags)
    rates = sorted(metrics(folder / "speed", "train/audio_seconds_per_second"))
    rate = rates[len(rates) // 2]
    text = f"base, {half_precision()}: {rate:,.0f} x real time in the median step"
    return Finding("a whole run", text, numbers={"audio_seconds_per_second": rate})
