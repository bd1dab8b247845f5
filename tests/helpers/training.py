"""Short training runs by the real commands; every one trains the `tiny` model on the tone corpus."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import REPOSITORY
from safetensors.torch import load_file

STEPS = 12


def free_port() -> int:
    """Returns a port that no program listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# For what is done to a run on its way: it waits in a step, whatever the machine's speed, as HOLD says.
HELD = "tests/ranks/held_train.py"


def hold(run_folder: Path, step: int) -> dict[str, str]:
    """Returns the environment in which HELD waits in a step until it is asked to stop or `release` is called."""
    return {"HOLD": f"{step} {_released(run_folder)}"}


def is_held(run_folder: Path) -> Callable[[], bool]:
    """Returns a function that tells whether a run that was started with `hold` has come to its step."""
    return Path(f"{_released(run_folder)}.held").exists


def release(run_folder: Path) -> None:
    """Lets a run go on that was started with `hold`."""
    _released(run_folder).touch()


def _released(run_folder: Path) -> Path:
    return run_folder.with_name(f"{run_folder.name}.released")


def launch(
    ranks: int,
    shards: Path,
    run_folder: Path,
    *flags: object,
    wandb: str = "off",
    script: str = "launch/train.py",
    model: object = "tiny",
) -> list[str]:
    """Returns the command of a training run: plain python for one rank, else the deepspeed launcher on a free port."""
    start: list[object] = [sys.executable]
    if ranks > 1:
        start = ["deepspeed", "--num_gpus", ranks, "--master_port", free_port()]
    data = ["--train", shards / "train", "--valid", shards / "valid", "--run", run_folder, "--model", model]
    return [str(word) for word in (*start, script, *data, "--wandb", wandb, *flags)]


# ds_configs/zero2.json without what keeps a model as small as the tests' whole.
ZERO_2 = REPOSITORY / "tests" / "helpers" / "zero2.json"


def short(
    config: object = ZERO_2,
    saves: int = 4,
    steps: int = STEPS,
    augment: str = "gain@0.3,telephone@0.3,codec@0.3",
    freeze_steps: int = 2,
) -> list[object]:
    """Returns the flags of a run of a few steps, with units that do not fit one pass and all that is random."""
    flags = {
        "config": config,
        "max_steps": steps,
        "warmup_steps": 2,
        "batch_seconds": 3,
        "units_per_step": 3,
        "memory_cap_seconds": 2.6,
        "log_steps": 1,
        "save_steps": saves,
        "eval_steps": steps,
        "ledger": "true",
        "dropout": 0.1,
        "mask_time_prob": 0.2,
        "mask_feature_prob": 0.1,
        "layerdrop": 0.3,
        "freeze_steps": freeze_steps,
        "augment": augment,
    }
    words: list[object] = []
    for name, value in flags.items():
        words += [f"--{name}", value]
    return words


def metric(run_folder: Path, name: str) -> dict[int, float]:
    """Returns the values of a metric by step."""
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


def visited(run_folder: Path) -> dict[int, list[str]]:
    """Returns the keys that all ranks of all attempts visited, by step; a step taken twice shows keys twice."""
    keys: dict[int, list[str]] = {}
    for path in (run_folder / "ledger").glob("rank-*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            keys.setdefault(row["step"], []).extend(row["keys"])
    return {step: sorted(keys[step]) for step in sorted(keys)}


def assert_same_run(run_folder: Path, undisturbed: Path) -> None:
    """Fails unless a run took the steps of `undisturbed` to the very same weights."""
    assert visited(run_folder) == visited(undisturbed)
    assert metric(run_folder, "train/loss") == metric(undisturbed, "train/loss")
    assert metric(run_folder, "valid/wer") == metric(undisturbed, "valid/wer")
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (run_folder, undisturbed))
    assert all(weights[name].equal(others[name]) for name in others)


def weight_difference(run_folder: Path, expected: Path, steps: int = STEPS) -> float:
    """The largest difference of any weight after so many steps; fails unless both visited the same utterances."""
    assert visited(run_folder) == visited(expected)
    checkpoint = f"checkpoints/step-{steps:08d}/model.safetensors"
    weights, others = (load_file(folder / checkpoint) for folder in (run_folder, expected))
    return max(float((weights[name] - other).abs().max()) for name, other in others.items())


def zero_file(stage: int, folder: Path) -> Path:
    """Writes zeroN.json for models so small that asrscale, or DeepSpeed at stage 3, would keep them whole."""
    config = json.loads((REPOSITORY / "ds_configs" / f"zero{stage}.json").read_text())
    config.pop("asrscale", None)
    config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    path = folder / f"zero{stage}.json"
    path.write_text(json.dumps(config))
    return path
