"""Ranks that meet or do not, and what they exchange."""

import os
import socket
from datetime import timedelta

import pytest
import torch
from torch.distributed import constants, distributed_c10d

from asrscale.common import distributed
from asrscale.common.errors import CliError, TransientError


@pytest.mark.parametrize(
    ("rank", "address", "listening"),
    [
        (1, "no-such-host.invalid", False),
        (1, "127.0.0.1", False),  # nobody listens
        (0, "127.0.0.1", False),  # nobody comes
        (0, "127.0.0.1", True),  # another program has the port
    ],
)
def test_ranks_that_cannot_meet_say_so_in_one_line(
    rank: int, address: str, listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "MEETING", timedelta(seconds=1))  # a minute
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if listening:
            other.listen()
        else:
            other.close()
        given = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": address, "MASTER_PORT": port}
        for name, value in given.items():
            monkeypatch.setenv(name, str(value))
        with (
            pytest.raises(TransientError, match=f"the ranks cannot meet at {address}:{port}") as caught,
            distributed.joined_ranks(),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_a_machine_with_gpus_that_torch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(CliError, match=r"has NVIDIA devices, but torch .* cannot use them"), distributed.joined_ranks():
        pass


def test_where_a_watch_looks_for_hangs_collectives_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):  # torch's own, whatever ran before; and put back
        monkeypatch.setattr(distributed_c10d, name, getattr(constants, name))
    torch_default = timedelta(minutes=30)
    for watched, patience in ((False, torch_default), (True, distributed.WATCHED)):
        with distributed.joined_ranks(watched=watched):
            assert torch.distributed.group.WORLD._get_backend(torch.device("cpu")).options._timeout == patience


def test_plain_python_is_a_world_of_one_that_leaves_no_trace() -> None:
    before = dict(os.environ)
    with distributed.joined_ranks() as world:
        assert (world.rank, world.local_rank, world.world_size, world.is_main) == (0, 0, 1, True)
        assert distributed.all_reduce_sum([1.5, 2**53 - 1], world) == [1.5, 2**53 - 1]
        assert distributed.gather_objects({"key": [1]}, world) == [{"key": [1]}]
        distributed.barrier()
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


def test_only_the_main_rank_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for rank in range(2):
        world = distributed.World(rank=rank, local_rank=rank, world_size=2, device=torch.device("cpu"))
        distributed.print_on_main(world, f"rank {rank}")
    assert capsys.readouterr() == ("", "rank 0\n")
