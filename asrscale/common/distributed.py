"""Joining ranks, and collectives of small values: torch.distributed for training and evaluation."""

import glob
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from asrscale.common.errors import CliError, TransientError
from asrscale.common.rank_environment import rank_environment

# Without expandable segments, memory that is free but in pieces can run out. torch reads this at CUDA's first use.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", os.environ.get("PYTORCH_ALLOC_CONF", "expandable_segments:True"))

WATCHED = timedelta(days=7)
MEETING = timedelta(seconds=50)  # a wrong address is reported within a minute; torch would wait for 5 to 30


@dataclass(frozen=True)
class World:
    """Who this process is among the ranks."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to people."""
        return self.rank == 0


@contextmanager
def joined_ranks(*, watched: bool = False) -> Iterator[World]:
    """Joins the ranks that deepspeed, torchrun or srun started, or makes a world of one for plain python; leaves after.

    Where a watch of ours looks for hangs (`watched`), torch's time-outs of 10 and 30 minutes must not: they would end a
    long save, and a hang before it is told whose it is.

    Raises:
        CliError: GPUs that cannot be used, an environment that is only half set, or ranks that do not find each other.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus and glob.glob("/dev/nvidia[0-9]*") and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        raise CliError(
            f"this machine has NVIDIA devices, but torch {torch.__version__} cannot use them: check nvidia-smi and the "
            "driver, or set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU"
        )
    environment = rank_environment()
    added = environment.keys() - os.environ.keys()
    os.environ.update(environment)
    try:
        rank, local_rank, world_size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
        local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
        if gpus == 1 and "LOCAL_WORLD_SIZE" in added:
            local_rank, local_world_size = 0, 1  # srun may show each task its own GPU only
        if gpus and local_world_size > gpus:
            raise CliError(f"{local_world_size} ranks were started for {gpus} GPUs: start one a GPU")
        if gpus:
            torch.cuda.set_device(local_rank)
        elif "OMP_NUM_THREADS" not in os.environ:  # deepspeed's launcher leaves every rank all cores
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world_size))
        _meet("nccl" if gpus else "gloo", WATCHED if watched else None)
        yield World(rank, local_rank, world_size, torch.device("cuda", local_rank) if gpus else torch.device("cpu"))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in added:
            del os.environ[name]


def _meet(backend: str, patience: timedelta | None) -> None:
    """Opens the process group, whose collectives wait for `patience`; None is as long as torch says."""
    host, port, deadline = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], time.monotonic() + MEETING.seconds
    try:
        while int(os.environ["RANK"]):  # torch has forty lines for a first rank that does not listen
            with suppress(OSError) if time.monotonic() < deadline else nullcontext():
                socket.create_connection((host, int(port)), MEETING.seconds).close()
                break
            time.sleep(0.2)
        store, rank, world_size = next(rendezvous("env://", timeout=MEETING))
        # torchrun's store outlives ranks that start again, and what they told each other.
        store = distributed_c10d.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        store.set_timeout(patience or torch.distributed.default_pg_timeout)
        if patience:  # DeepSpeed makes groups of its own, which take torch's defaults
            vars(distributed_c10d).update(default_pg_timeout=patience, default_pg_nccl_timeout=patience)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    except (torch.distributed.DistError, OSError) as error:
        cure = "check that all were started, and their MASTER_ADDR; another run may use the port: see --master_port"
        why = str(error).splitlines()[0]
        raise TransientError(f"the ranks cannot meet at {host}:{port} ({why}): {cure}") from error


def barrier() -> None:
    """Waits for every rank."""
    torch.distributed.barrier()


def all_reduce_sum(values: Iterable[float], world: World) -> list[float]:
    """Sums a few numbers over the ranks, in float64."""
    total = torch.tensor(list(values), dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(total)
    return [float(value) for value in total]


def gather_objects(value: Any, world: World) -> list[Any]:
    """One small picklable value of each rank, on every rank; never data from a shard's author."""
    gathered: list[Any] = [None] * world.world_size
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def print_on_main(world: World, line: str) -> None:
    """Prints a line to stderr, on the main rank only."""
    if world.is_main:
        print(line, file=sys.stderr, flush=True)
