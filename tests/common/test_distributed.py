"""Ranks that meet or do not, and what they exchange."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
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


def listening_at() -> set[str]:
    """The addresses at which this process listens."""
    connections = psutil.Process().net_connections("tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_one_rank_is_reached_from_no_network_in_general() -> None:
    with distributed.joined_ranks():
        assert not listening_at() & {"::", "0.0.0.0"}  # gloo listens at one address


TWO_RANKS = """
import os, sys
import psutil, torch
from asrscale.common import distributed

class Harmful:
    def __reduce__(self):
        return eval, ("__import__('os').mkdir(__import__('sys').argv[1] + __import__('os').environ['RANK'])",)

with distributed.joined_ranks() as world:
    text = "ä\\udcff" * (1 + 999 * world.rank)
    own = {"rank": world.rank, "text": text, "numbers": (0.1, 1e-300, None, True, 2**60)}
    first, second = distributed.gather_objects(own, world)
    assert first == {"rank": 0, "text": "ä\\udcff", "numbers": [0.1, 1e-300, None, True, 2**60]}, first
    assert second["rank"] == 1 and second["text"] == "ä\\udcff" * 1000
    connections = [one for one in psutil.Process().net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    print("listens at", {one.laddr.ip for one in connections if one.laddr.port == int(os.environ["MASTER_PORT"])})
    try:
        if world.rank == 1:
            torch.distributed.all_gather_object([None, None], Harmful())  # which runs on itself, too
        else:
            distributed.gather_objects("harmless", world)
    except Exception as error:
        print("refused", type(error).__name__)
    distributed.barrier()
"""


def run_two_ranks(program: str, *words: object, codes: tuple[int, int] = (0, 0)) -> list[str]:
    """Runs a program as two ranks, which exit with `codes`; returns what each printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            env=os.environ | {name: str(value) for name, value in (given | {"RANK": rank, "LOCAL_RANK": 0}).items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert tuple(rank.returncode for rank in ranks) == codes, outputs
    return outputs


def test_ranks_exchange_json_at_the_address_they_are_told_and_run_nothing(tmp_path: Path) -> None:
    outputs = run_two_ranks(TWO_RANKS, tmp_path / "harm")
    assert "listens at {'127.0.0.1'}" in outputs[0]
    assert "refused UnicodeDecodeError" in outputs[0]
    assert not list(tmp_path.iterdir())


ONE_THAT_ENDS = """
import dataclasses
from asrscale.common import cli, distributed
from asrscale.common.errors import OneRankError

@dataclasses.dataclass(frozen=True)
class Options:
    "No flags."

def work(options):
    with distributed.joined_ranks() as world, distributed.lost_ranks_explained():
        distributed.barrier()
        if world.rank == 1:
            raise OneRankError("of its own")
        distributed.all_reduce_sum([1.0], world)

cli.run(Options, work, [])
"""


def test_a_rank_whose_peer_has_ended_says_so_in_one_line() -> None:
    waiting, ended = run_two_ranks(ONE_THAT_ENDS, codes=(1, 2))
    assert waiting.splitlines()[-1].startswith("error: another rank has ended") and "Traceback" not in waiting
    assert ended.splitlines()[-1] == "error: of its own"


@pytest.mark.parametrize(("local_world_size", "is_said"), [(1, True), (2, False)])
def test_a_name_that_only_this_machine_knows_is_listened_for_everywhere_and_said(
    local_world_size: int, is_said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distributed, "MEETING", timedelta(seconds=1))  # nobody comes
    given = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": 0}
    for name, value in (given | {"LOCAL_WORLD_SIZE": local_world_size}).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(TransientError, match="cannot meet at localhost"), distributed.joined_ranks():
        pass
    message = capsys.readouterr().err
    assert ("localhost (MASTER_ADDR) is " in message and "other nodes cannot come" in message) == is_said
