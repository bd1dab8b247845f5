"""Several GPUs: NCCL, and DeepSpeed's steps on all of them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.training import engine as ds
from gpu.machine import ON_CPU, Finding, half_precision, print_findings, synchronize
from gpu.models import batch_of, lengths, make_model, write_model
from gpu.steps import config_of, make_engine, take_step

TESTS = Path(__file__).parents[1]
REDUCED_GIB = 0.01 if ON_CPU else 0.5
STEPS = 3 if ON_CPU else 10
STAGES = ("zero1", "zero2", "zero3")


def ranks() -> Iterator[Finding]:
    """Starts this file on 2, 4, 8 … GPUs, which print what they find."""
    count = 2 if ON_CPU else torch.cuda.device_count()
    if count < 2:
        yield Finding("several GPUs", "this machine has one")
        return
    sizes = [size for size in (2, 4, 8) if size <= count]
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), "base")
        for size in sizes:
            command = ["torchrun", "--standalone", "--nproc_per_node", str(size), "-m", "gpu.ranks", folder]
            done = subprocess.run(command, cwd=TESTS, stdout=sys.stdout, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                yield Finding(f"{size} ranks", f"exit code {done.returncode}: {done.stderr[-1_500:]}", is_wrong=True)


def of_rank(folder: Path, world: World) -> Iterator[Finding]:
    """Yields what the ranks find together; `folder` has the model."""
    yield collectives(world)
    for stage in STAGES:
        yield steps(folder, stage, world)


def collectives(world: World) -> Finding:
    """Whether a sum over the ranks is right, and how many bytes a second a large one takes."""
    expected = world.world_size * (world.world_size + 1) / 2
    is_right = distributed.all_reduce_sum([world.rank + 1], world) == [expected]
    tensor = torch.ones(int(REDUCED_GIB * 2**30) // 4, device=world.device)
    torch.distributed.all_reduce(tensor)
    synchronize()
    began = time.perf_counter()
    torch.distributed.all_reduce(tensor)
    synchronize()
    gb_per_second = tensor.nbytes / (time.perf_counter() - began) / 1e9
    name = f"{torch.distributed.get_backend()}, {world.world_size} ranks"
    text = f"sums {'right' if is_right else 'WRONG'}, {gb_per_second:.1f} GB/s of {REDUCED_GIB} GiB"
    return Finding(name, text, not is_right, {"gb_per_second": gb_per_second})


def steps(folder: Path, stage: str, world: World) -> Finding:
    """Steps of DeepSpeed on all ranks, each with the same batch."""
    recognizer = make_model(folder, "base")
    engine = make_engine(recognizer, config_of(stage, half_precision(), world.device), world.device)
    batch = batch_of(lengths()[-8:]).to(world.device)
    losses = [float(take_step(engine, recognizer, batch, world))]
    synchronize()
    began = time.perf_counter()
    losses += [float(take_step(engine, recognizer, batch, world)) for _ in range(STEPS)]
    seconds = (time.perf_counter() - began) / STEPS
    engine.destroy()
    text = f"loss {losses[0]:.3f} to {losses[-1]:.3f}, {seconds * 1e3:.0f} ms a step"
    is_wrong = not losses[-1] < losses[0]
    return Finding(f"{stage}, base, {world.world_size} ranks", text, is_wrong, {"step_seconds": seconds})


if __name__ == "__main__":
    with ds.joined_ranks() as joined:
        found = list(of_rank(Path(sys.argv[1]), joined))
        if joined.is_main:
            print_findings(found)
    sys.stdout.flush()
    os._exit(0)  # as `cli.run` ends a process, and for the same reason
