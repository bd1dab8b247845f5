"""Known GPUs: their memory and speed."""

from dataclasses import dataclass, replace

from asrscale.common.errors import CliError

GIB = 2**30

MIN_GIB = 1  # no card has less
MAX_GIB = 1024  # more is a number of megabytes, or a slip


@dataclass(frozen=True)
class Slowdown:
    """How many times as long as the bound by arithmetic, memory and launches a step takes.

    Attributes:
        least: Of the fastest runs.
        likely: What estimated times are multiplied by.
        most: Of the slowest runs.
        source: Where these are from, in words.
    """

    least: float
    likely: float
    most: float
    source: str


# `tests/bench/bench_memory.py times` compares the bound with runs that others have published: 2.8 to 7.4 times as long
# where training alone was timed, up to 16 with small batches and evaluations. docs/memory-model.md has the table.
PUBLISHED = Slowdown(
    least=2.5,
    likely=6.0,
    most=12.0,
    source="by what others have published; make gpu-check measures a card, and --calibration FILE uses that",
)


@dataclass(frozen=True)
class Gpu:
    """What a GPU can hold and do, in round figures; docs/memory-model.md says how far to trust them."""

    name: str
    memory_gib: float  # what torch can see of it
    teraflops: float  # dense 16-bit tensor cores that add in fp32
    memory_gb_per_second: float
    link_gb_per_second: float  # to another GPU of the node, one direction: NVLink, or PCIe
    slowdown: Slowdown = PUBLISHED


_KNOWN = (
    Gpu(name="rtx3050-6", memory_gib=5.8, teraflops=13.5, memory_gb_per_second=168, link_gb_per_second=8),
    Gpu(name="rtx4060-8", memory_gib=7.75, teraflops=30, memory_gb_per_second=272, link_gb_per_second=8),
    Gpu(name="rtx3060-12", memory_gib=11.75, teraflops=25.5, memory_gb_per_second=360, link_gb_per_second=16),
    Gpu(name="t4-16", memory_gib=14.6, teraflops=65, memory_gb_per_second=320, link_gb_per_second=8),
    Gpu(name="v100-16", memory_gib=15.77, teraflops=125, memory_gb_per_second=900, link_gb_per_second=75),
    Gpu(name="l4-24", memory_gib=22.0, teraflops=121, memory_gb_per_second=300, link_gb_per_second=16),
    Gpu(name="rtx4090-24", memory_gib=23.5, teraflops=165, memory_gb_per_second=1008, link_gb_per_second=16),
    Gpu(name="v100-32", memory_gib=31.7, teraflops=125, memory_gb_per_second=900, link_gb_per_second=75),
    Gpu(name="a100-40", memory_gib=39.4, teraflops=312, memory_gb_per_second=1555, link_gb_per_second=250),
    Gpu(name="a100-80", memory_gib=79.1, teraflops=312, memory_gb_per_second=2039, link_gb_per_second=250),
    Gpu(name="h100-80", memory_gib=79.1, teraflops=989, memory_gb_per_second=3350, link_gb_per_second=400),
    Gpu(name="h200-141", memory_gib=139.8, teraflops=989, memory_gb_per_second=4800, link_gb_per_second=400),
)
GPUS = {gpu.name: gpu for gpu in _KNOWN}  # the smallest first


def find_gpu(name: str) -> Gpu:
    """Returns the GPU of a name, or for a number one of so many GiB.

    The latter is as fast as the largest known GPU that has no more memory, or as the smallest where none has so little.

    Raises:
        CliError: `name` is neither the name of a known GPU nor a number of GiB from 1 to 1024.
    """
    if name in GPUS:
        return GPUS[name]
    if not _is_memory_size(name):
        raise CliError(f"--gpu {name}: give the GiB of a card, or one of {', '.join(GPUS)}")

    memory_gib = float(name)
    not_larger = [gpu for gpu in GPUS.values() if gpu.memory_gib <= memory_gib]
    if not_larger:
        similar = max(not_larger, key=lambda gpu: gpu.memory_gib)
    else:
        similar = next(iter(GPUS.values()))
    return replace(similar, name=f"{name} GiB", memory_gib=memory_gib)


def _is_memory_size(text: str) -> bool:
    """Whether a text is a plain number (no sign, no exponent) of GiB that a card may have."""
    digits = text.replace(".", "", 1)
    return digits.isdigit() and MIN_GIB <= float(text) <= MAX_GIB
