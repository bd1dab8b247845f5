"""Ranks that are started by torchrun, deepspeed, srun's variables or by hand: they meet, agree, and train alike."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.training import free_port, launch, short
from safetensors.torch import load_file


def test_ranks_that_disagree_name_the_setting_and_end_before_any_work(
    tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def rank(number: int) -> subprocess.CompletedProcess[str]:
        words = launch(1, tone_shards, tmp_path / "run", *short(), "--learning_rate", f"0.00{number + 1}")
        return run_command(*words, **common, RANK=str(number), LOCAL_RANK=str(number))

    with ThreadPoolExecutor(2) as ranks:
        ended = list(ranks.map(rank, (0, 1)))
    assert [one.returncode for one in ended] == [2, 2], ended
    assert "error: the ranks do not agree on learning_rate: start all of them with the same command" in ended[0].stderr
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_a_rank_whose_master_is_not_there_gives_up_by_itself(
    tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = launch(1, tone_shards, tmp_path / "run", *short())
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    done = run_command(*words, **given, RANK="1", LOCAL_RANK="0")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    [message] = done.stderr.splitlines()
    assert message.startswith(f"error: the ranks cannot meet at 127.0.0.1:{given['MASTER_PORT']}")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_deepspeed_torchrun_and_python_give_the_same_weights(
    ranks: int, tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """With srun's, tests/test_slurm.py compares them."""
    starts = {
        "deepspeed": ["deepspeed", "--num_gpus", ranks, "--master_port", free_port()],
        "torchrun": ["torchrun", "--nproc-per-node", ranks, "--master-port", free_port(), "--"],
    } | ({"python": [sys.executable]} if ranks == 1 else {})
    found = []
    for name, start in starts.items():
        done = run_command(*start, *launch(1, tone_shards, tmp_path / name, *short())[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(weights[name].equal(found[0][name]) for weights in found[1:] for name in found[0])


def test_torchrun_on_two_nodes_gives_the_weights_of_deepspeed_on_one_and_no_secret_away(
    undisturbed: Path, tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder, port = tmp_path / "run", free_port()
    canary = "c0ffee" * 6 + "feed"  # forty digits, as a key of W&B has
    secrets = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_TOKEN")

    def node(number: int) -> subprocess.CompletedProcess[str]:
        start = ["torchrun", "--nnodes", 2, "--nproc-per-node", 1, "--node-rank", number]
        start += ["--master-addr", "127.0.0.1", "--master-port", port, "--"]  # its parser takes --run for its own
        words = launch(1, tone_shards, folder, *short(), wandb="offline")[1:]
        return run_command(*start, *words, **dict.fromkeys(secrets, canary))

    with ThreadPoolExecutor(2) as nodes:
        ended = list(nodes.map(node, (0, 1)))
    assert [one.returncode for one in ended] == [0, 0], ended
    weights, other = (load_file(path / "model" / "model.safetensors") for path in (undisturbed, folder))
    assert all(weights[name].equal(other[name]) for name in weights)
    assert not any(canary in one.stdout + one.stderr for one in ended)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 10 and not [path for path in written if canary.encode() in path.read_bytes()]
