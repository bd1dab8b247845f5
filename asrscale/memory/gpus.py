"""Known GPUs: their memory and speed."""

from dataclasses import dataclass, replace

from asrscale.common.errors import CliError

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """What a GPU can hold and do, in round figures; docs/memory.md says how far to trust them."""

    name: str
    memory_gib: float  # what torch can see of it
    teraflops: float  # dense 16-bit tensor cores that add in fp32
    memory_gb_per_second: float
    link_gb_per_second: float  # to another GPU of the node, one direction: NVLink, or PCIe


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("rtx3050-6", 5.8, 13.5, 168, 8),
        Gpu("rtx4060-8", 7.75, 30, 272, 8),
        Gpu("rtx3060-12", 11.75, 25.5, 360, 16),
        Gpu("t4-16", 14.6, 65, 320, 8),
        Gpu("v100-16", 15.77, 125, 900, 75),
        Gpu("l4-24", 22.0, 121, 300, 16),
        Gpu("rtx4090-24", 23.5, 165, 1008, 16),
        Gpu("v100-32", 31.7, 125, 900, 75),
        Gpu("a100-40", 39.4, 312, 1555, 250),
        Gpu("a100-80", 79.1, 312, 2039, 250),
        Gpu("h100-80", 79.1, 989, 3350, 400),
        Gpu("h200-141", 139.8, 989, 4800, 400),
    )
}


def find_gpu(name: str) -> Gpu:
    """A GPU by its name, or one of so many GiB that is as fast as the largest known that has no more.

    Raises:
        CliError: Neither.
    """
    if name in GPUS:
        return GPUS[name]
    if not name.replace(".", "", 1).isdigit() or not 1 <= float(name) <= 1024:
        raise CliError(f"--gpu {name}: give the GiB of a card, or one of {', '.join(GPUS)}")
    smaller = [gpu for gpu in GPUS.values() if gpu.memory_gib <= float(name)]
    like = max(smaller, key=lambda gpu: gpu.memory_gib) if smaller else next(iter(GPUS.values()))
    return replace(like, name=f"{name} GiB", memory_gib=float(name))
