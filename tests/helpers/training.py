"""Short training runs by the real commands; every one trains the `tiny` model on the tone corpus."""

import json
import socket
import sys
from pathlib import Path

from conftest import REPOSITORY

STEPS = 12


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(ranks: int, shards: Path, run_folder: Path, *flags: object, wandb: str = "off") -> list[str]:
    """The command of a training run: plain python for one rank, else the deepspeed launcher on a free port."""
    start = ["deepspeed", "--num_gpus", ranks, "--master_port", free_port()] if ranks > 1 else [sys.executable]
    data = ["--train", shards / "train", "--valid", shards / "valid", "--run", run_folder, "--model", "tiny"]
    return [str(word) for word in (*start, "launch/train.py", *data, "--wandb", wandb, *flags)]


def short(config: object = "ds_configs/zero2.json", saves: int = 4, steps: int = STEPS) -> list[object]:
    """Flags of a run of a few steps, with units that do not fit one pass and all that is drawn at random."""
    return [
        "--config", config, "--max_steps", steps, "--warmup_steps", 2, "--batch_seconds", 3, "--units_per_step", 3,
        "--memory_cap_seconds", 2.6, "--log_steps", 1, "--save_steps", saves, "--eval_steps", steps, "--ledger", "true",
        "--mask_time_prob", 0.2, "--mask_feature_prob", 0.1, "--layerdrop", 0.3, "--freeze_steps", 2,
    ]  # fmt: skip


def metric(run_folder: Path, name: str) -> dict[int, float]:
    """Step to value."""
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


def visited(run_folder: Path) -> dict[int, list[str]]:
    """Step to the keys that all ranks of all attempts visited in it; a step taken twice shows keys twice."""
    keys: dict[int, list[str]] = {}
    for path in (run_folder / "ledger").glob("rank-*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            keys.setdefault(row["step"], []).extend(row["keys"])
    return {step: sorted(keys[step]) for step in sorted(keys)}


def partitioned_zero3(folder: Path) -> Path:
    """zero3.json for models so small that DeepSpeed would keep all of their parameters whole."""
    config = json.loads((REPOSITORY / "ds_configs" / "zero3.json").read_text())
    config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    path = folder / "zero3.json"
    path.write_text(json.dumps(config))
    return path
