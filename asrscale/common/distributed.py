"""Joining ranks, and collectives of small values: torch.distributed for training and evaluation.

Ranks that have met believe each other's numbers, but what one sends is never run on another: values travel as JSON.
"""

import glob
import ipaddress
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, Union

import torch
from torch import Tensor
from torch._C._distributed_c10d import HashStore, Store, TCPStore
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from asrscale.common.errors import CliError, TransientError
from asrscale.common.rank_environment import rank_environment

# Without expandable segments, memory that is free but in pieces can run out. torch reads this at CUDA's first use.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", os.environ.get("PYTORCH_ALLOC_CONF", "expandable_segments:True"))

# How long a collective waits where our own watch looks for hangs: longer than any hang lasts.
WATCHED = timedelta(days=7)

# How long ranks wait for each other at the start, so that a wrong address is reported within a minute; torch would wait
# for 5 to 30.
MEETING = timedelta(seconds=50)

# What gloo says where the process at the other end is gone.
LOST_CONNECTION = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed")

FIRST_RANK_POLL_SECONDS = 0.2  # between attempts to reach the first rank

# What JSON can say; tuples arrive as lists.
Json: TypeAlias = Union[str, int, float, bool, Sequence["Json"], Mapping[str, "Json"], None]  # noqa: UP007 — names itself


@dataclass(frozen=True)
class World:
    """Which of the ranks this process is."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and prints to people."""
        return self.rank == 0


@contextmanager
def joined_ranks(*, watched: bool = False) -> Iterator[World]:
    """Joins the ranks that deepspeed, torchrun or srun started, or makes a world of one for plain python.

    The process group and the environment's variables of ranks are removed afterwards.

    Args:
        watched: A watch of ours looks for hangs, so torch's time-outs of 10 and 30 minutes must not: they would end a
            long save, and a hang before its rank is reported.

    Raises:
        CliError: GPUs that cannot be used, or an environment that is only half set.
        TransientError: The ranks do not find each other.
    """
    gpus = _usable_gpus()
    environment = rank_environment()
    added = environment.keys() - os.environ.keys()
    os.environ.update(environment)
    try:
        world = _claim_device(gpus, is_slurm_step="LOCAL_WORLD_SIZE" in added)
        _open_process_group("nccl" if gpus else "gloo", WATCHED if watched else None)
        yield world
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in added:
            del os.environ[name]


@contextmanager
def lost_ranks_explained() -> Iterator[None]:
    """Raises one line where another rank ends within, while this one waits for it.

    Raises:
        TransientError: One did.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST_CONNECTION):
            raise
        raise TransientError("another rank has ended, so this one ends, too: see what that one printed") from error


def _usable_gpus() -> int:
    """Returns how many GPUs torch can use.

    Raises:
        CliError: The machine has GPUs, but torch can use none.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_devices = bool(glob.glob("/dev/nvidia[0-9]*"))
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    if not gpus and has_devices and not is_hidden:
        raise CliError(
            f"this machine has NVIDIA devices, but torch {torch.__version__} cannot use them: check nvidia-smi and the "
            "driver, or set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU"
        )
    return gpus


def _claim_device(gpus: int, *, is_slurm_step: bool) -> World:
    """Sets the GPU of this rank, or its share of the cores, and returns the world by the environment's variables.

    Raises:
        CliError: More ranks than GPUs were started on this node.
    """
    rank = int(os.environ["RANK"])
    local_rank = int(os.environ["LOCAL_RANK"])
    world_size = int(os.environ["WORLD_SIZE"])
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)

    if gpus == 1 and is_slurm_step:
        # srun may show each task its own GPU only.
        local_rank = 0
        local_world_size = 1
    if gpus and local_world_size > gpus:
        raise CliError(f"{local_world_size} ranks were started for {gpus} GPUs: start one a GPU")

    if gpus:
        torch.cuda.set_device(local_rank)
        return World(rank, local_rank, world_size, torch.device("cuda", local_rank))

    if "OMP_NUM_THREADS" not in os.environ:  # deepspeed's launcher leaves every rank all cores
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // local_world_size))
    return World(rank, local_rank, world_size, torch.device("cpu"))


def _open_process_group(backend: str, patience: timedelta | None) -> None:
    """Opens the process group, whose collectives wait for `patience`; None is torch's own default.

    Raises:
        TransientError: The ranks do not find each other.
    """
    host = os.environ["MASTER_ADDR"]
    port = os.environ["MASTER_PORT"]
    try:
        if int(os.environ["RANK"]) > 0:
            _wait_for_first_rank(host, int(port))
        store = _open_store(host, int(port))
        store.set_timeout(patience or torch.distributed.default_pg_timeout)
        if patience:
            # DeepSpeed makes groups of its own, which take torch's defaults.
            vars(distributed_c10d).update(default_pg_timeout=patience, default_pg_nccl_timeout=patience)
        rank = int(os.environ["RANK"])
        world_size = int(os.environ["WORLD_SIZE"])
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    except (torch.distributed.DistError, OSError) as error:
        cure = "check that all were started, and their MASTER_ADDR; another run may use the port: see --master_port"
        why = str(error).splitlines()[0]
        raise TransientError(f"the ranks cannot meet at {host}:{port} ({why}): {cure}") from error


def _open_store(host: str, port: int) -> Store:
    """Opens the store in which ranks find each other; one rank needs none that listens.

    Raises:
        OSError: The port is taken.
        torch.distributed.DistError: The ranks do not come, or the first one cannot be reached.
    """
    if int(os.environ["WORLD_SIZE"]) == 1:
        return HashStore()
    is_agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)  # torchrun listens for its ranks
    if int(os.environ["RANK"]) == 0 and not is_agents:
        store = _listening_store(host, port)
    else:
        store, _, _ = next(rendezvous("env://", timeout=MEETING))
    # torchrun's store outlives ranks that start again, and what they wrote there for each other.
    return distributed_c10d.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _listening_store(host: str, port: int) -> Store:
    """Returns the store of the first rank, which torch by itself would offer on all of the machine's networks."""
    address = _own_address(host)
    listener = socket.create_server((address, port), family=_family(address)) if address else None
    return TCPStore(
        host_name=host,
        port=port,
        world_size=int(os.environ["WORLD_SIZE"]),
        is_master=True,
        timeout=MEETING,
        master_listen_fd=listener.detach() if listener else None,
    )


def _own_address(host: str) -> str | None:
    """Returns the address of this machine that ranks are given; None where only others know it by the name.

    Debian's /etc/hosts gives a machine's own name an address that no other machine can reach, some containers know
    their own name by no address of theirs.
    """
    address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    local_world_size = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or "1"
    has_other_nodes = local_world_size != os.environ["WORLD_SIZE"]
    is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    is_hidden = is_loopback and has_other_nodes and host != address
    if not is_hidden and _can_listen_at(address):
        return address
    print(
        f"warning: {host} (MASTER_ADDR) is {address} on this machine, where other nodes cannot come: its ranks are "
        "waited for on all of its networks; set MASTER_ADDR to an address of the network that the nodes share",
        file=sys.stderr,
    )
    return None


def _can_listen_at(address: str) -> bool:
    """Whether an address is one of this machine's."""
    with socket.socket(_family(address)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _wait_for_first_rank(host: str, port: int) -> None:
    """Waits until the first rank listens; where it never does, torch would print forty lines.

    Raises:
        OSError: It does not listen after MEETING.
    """
    deadline_seconds = time.monotonic() + MEETING.seconds
    while True:
        is_last_attempt = time.monotonic() >= deadline_seconds
        try:
            socket.create_connection((host, port), timeout=MEETING.seconds).close()
            return
        except OSError:
            if is_last_attempt:
                raise
        time.sleep(FIRST_RANK_POLL_SECONDS)


def barrier() -> None:
    """Waits for every rank."""
    torch.distributed.barrier()


@dataclass(frozen=True, eq=False)
class PendingSum:
    """A sum over the ranks that is on its way; see `begin_sum`."""

    total: Tensor  # of what was summed up, once `work` is done
    work: torch.distributed.Work | None  # None in a world of one

    def result(self) -> list[float]:
        """Waits for the sums."""
        if self.work is not None:
            self.work.wait()
        sums: list[float] = self.total.tolist()
        return sums


def begin_sum(values: Iterable[float], world: World) -> PendingSum:
    """Begins to sum up a few numbers over the ranks, in float64, which goes on while the caller does something else.

    A collective; a world of one needs no process group.
    """
    device = world.device if world.world_size > 1 else "cpu"
    given = torch.tensor(list(values), dtype=torch.float64)
    total = given.to(device, non_blocking=True)  # else the host would wait for all that a GPU has still to do
    work = torch.distributed.all_reduce(total, async_op=True) if world.world_size > 1 else None
    return PendingSum(total, work)


def all_reduce_sum(values: Iterable[float], world: World) -> list[float]:
    """Sums up a few numbers over the ranks, as `begin_sum` does, and waits for the result."""
    return begin_sum(values, world).result()


def gather_objects(value: Json, world: World) -> list[Any]:
    """Returns one small value of each rank, on every rank; a world of one needs no process group.

    Args:
        value: Travels as JSON, in which tuples become lists and floats stay what they are. torch's own collective of
            objects would unpickle what it is sent, which runs code of the sender.
        world: The ranks.
    """
    text = json.dumps(value).encode()
    if world.world_size == 1:
        return [json.loads(text)]
    size = torch.tensor([len(text)], dtype=torch.int64, device=world.device)
    sizes = [torch.empty_like(size) for _ in range(world.world_size)]
    torch.distributed.all_gather(sizes, size)

    num_bytes = [int(one) for one in sizes]
    padded = torch.zeros(max(num_bytes), dtype=torch.uint8)
    padded[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    padded = padded.to(world.device)
    texts = [torch.empty_like(padded) for _ in range(world.world_size)]
    torch.distributed.all_gather(texts, padded)
    return [
        json.loads(one[:size_bytes].cpu().numpy().tobytes()) for one, size_bytes in zip(texts, num_bytes, strict=True)
    ]


def print_on_main(world: World, line: str) -> None:
    """Prints a line to stderr, on the main rank only."""
    if world.is_main:
        print(line, file=sys.stderr, flush=True)
