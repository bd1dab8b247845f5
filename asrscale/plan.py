"""Will it fit, and how long will it take? Answers before a run, without a GPU.

python -m asrscale.plan --model facebook/wav2vec2-large-960h --gpu rtx3060-12
"""

from dataclasses import replace

from asrscale.common import cli
from asrscale.common.errors import CliError
from asrscale.common.quick_imports import quick_imports
from asrscale.memory.card_speed import read_calibration
from asrscale.memory.gpus import GPUS, PUBLISHED, Gpu, find_gpu
from asrscale.training.plan_options import PlanOptions, plan_options


def plan(options: PlanOptions) -> None:
    """Finds what fits and prints it.

    Raises:
        CliError: The model, the data or the GPU cannot be found, nothing fits, or the page cannot be written.
    """
    if options.gpus < 1:
        raise CliError(f"--gpus {options.gpus}: give 1 or more")
    if not options.hours > 0:
        raise CliError(f"--hours {options.hours:g}: give more than 0")
    gpus = _gpus(options)
    # Takes seconds to import: a wrong flag is reported before.
    with quick_imports():
        from asrscale.training import planning

    planning.plan(options, gpus)


def _gpus(options: PlanOptions) -> list[Gpu]:
    """Returns the requested kinds of GPU, with --memory_gib and the speed of --calibration if these are given."""
    gpus = list(GPUS.values()) if options.gpu == "all" else [find_gpu(options.gpu)]
    memory_gib = options.run.memory.memory_gib
    slowdown = read_calibration(options.calibration) if options.calibration else PUBLISHED
    return [replace(gpu, memory_gib=memory_gib or gpu.memory_gib, slowdown=slowdown) for gpu in gpus]


if __name__ == "__main__":
    cli.run(PlanOptions, plan, build=plan_options)
