"""RANK, WORLD_SIZE and the like, as deepspeed, torchrun or srun set them."""

import os
import re

from asrscale.common.errors import CliError

_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank_environment() -> dict[str, str]:
    """RANK and its kin as deepspeed, torchrun or srun set them, or those of a world of one.

    Raises:
        CliError: They are half set, or are no numbers.
    """
    found = {name: os.environ[name] for name in _NAMES if os.environ.get(name)}
    if not {"RANK", "WORLD_SIZE"} & set(found):
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            return _slurm_environment() | found
        # Port 0 is any that is free.
        return dict(zip(_NAMES, ("0", "0", "1", "127.0.0.1", "0"), strict=True))
    if missing := [name for name in _NAMES if name not in found]:
        raise CliError(f"the environment sets {', '.join(found)} but not {', '.join(missing)}: start with deepspeed, "
                       "torchrun, srun or plain python, or unset them")  # fmt: skip
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not found[name].isdigit():
            raise CliError(f"the environment variable {name}={found[name]} is no whole number: unset it")
    return found


def _slurm_environment() -> dict[str, str]:
    """The same from srun's variables, which only a job step has: the shell of sbatch or salloc is a world of one.

    The ranks meet on the first node of the step, at a port of the job and its attempt (ports of 20,000 to 30,000 are
    below those that Linux gives to clients).
    """
    # "gpu[07-08,11],fat3" → gpu07; "2(x3),1" → 2, 2, 2, 1 tasks on the nodes.
    tasks = re.sub(r"(\d+)\(x(\d+)\)", lambda m: ",".join([m[1]] * int(m[2])), os.environ["SLURM_STEP_TASKS_PER_NODE"])
    job, attempt = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": tasks.split(",")[int(os.environ["SLURM_NODEID"])],
        "MASTER_ADDR": re.findall(r"[^\[,]+(?:\[\d+)?", os.environ["SLURM_STEP_NODELIST"])[0].replace("[", ""),
        "MASTER_PORT": str(20_000 + (97 * job + attempt) % 10_000),
    }
