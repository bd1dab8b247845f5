"""RANK, WORLD_SIZE and the other variables of a rank, as deepspeed, torchrun or srun set them."""

import os
import re

from asrscale.common.errors import CliError

_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")

# Port 0 is any that is free.
_WORLD_OF_ONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}

# Below 32,768, from where Linux takes the ports that it gives to clients.
_FIRST_PORT = 20_000
_PORTS = 10_000

# Between the first attempts of a job and of the next, so that later attempts of one do not meet the other's.
_PORTS_BETWEEN_JOBS = 97


def rank_environment() -> dict[str, str]:
    """Returns RANK and the like as deepspeed, torchrun or srun set them, or those of a world of one.

    Raises:
        CliError: They are half set, or are no numbers.
    """
    found = {name: os.environ[name] for name in _NAMES if os.environ.get(name)}
    if "RANK" not in found and "WORLD_SIZE" not in found:
        is_slurm_step = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1
        return _slurm_environment() | found if is_slurm_step else dict(_WORLD_OF_ONE)

    missing = [name for name in _NAMES if name not in found]
    if missing:
        raise CliError(
            f"the environment sets {', '.join(found)} but not {', '.join(missing)}: start with deepspeed, torchrun, "
            "srun or plain python, or unset them"
        )
    for name in _NUMBERS:
        if not found[name].isdigit():
            raise CliError(f"the environment variable {name}={found[name]} is no whole number: unset it")
    return found


def _slurm_environment() -> dict[str, str]:
    """Returns the same from srun's variables, which only a job step has.

    The shell of sbatch or salloc has none of them and is a world of one. The ranks meet on the first node of the step,
    at a port of the job and its attempt.
    """
    node = int(os.environ["SLURM_NODEID"])
    job = int(os.environ["SLURM_JOB_ID"])
    attempt = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": _tasks_per_node(os.environ["SLURM_STEP_TASKS_PER_NODE"])[node],
        "MASTER_ADDR": _first_node(os.environ["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(_FIRST_PORT + (_PORTS_BETWEEN_JOBS * job + attempt) % _PORTS),
    }


def _tasks_per_node(text: str) -> list[str]:
    """Returns the number of tasks of each node: "2(x3),1" is ["2", "2", "2", "1"]."""
    tasks: list[str] = []
    for part in text.split(","):
        count, _, repeats = part.partition("(x")
        tasks += [count] * int(repeats.rstrip(")") or 1)
    return tasks


def _first_node(node_list: str) -> str:
    """Returns the first node of SLURM's short form: "gpu[07-08,11],fat3" begins with gpu07."""
    first = re.findall(r"[^\[,]+(?:\[\d+)?", node_list)[0]
    return str(first.replace("[", ""))
