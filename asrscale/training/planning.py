"""What fits on a GPU, found and printed: as a table, JSON or a page."""

import json
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from asrscale.augmentation.augment import open_augmentation
from asrscale.common import html
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import CliError
from asrscale.data.mixing import read_mix
from asrscale.data.plan_summary import summarise_plan
from asrscale.data.run_plan import RunPlan
from asrscale.memory import plan_page, plan_text
from asrscale.memory.choices import Choice
from asrscale.memory.gpus import Gpu
from asrscale.model.building import build_meta_recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import to_dict
from asrscale.training.memory_plan import SEARCHED, search, trains_head_only
from asrscale.training.plan_options import PlanOptions
from asrscale.training.planned_run import PlannedRun, data_blocks, opening_blocks
from asrscale.training.prepared_model import UNPLANNED
from asrscale.training.recipe_choice import settings_before_a_run
from asrscale.training.recipe_settings import Chosen, count_steps

LENGTHS_SECONDS = (5.0, 10.0, 20.0)  # shown; without data, the last is the longest utterance
BUDGETS = 33  # points on the curve of time over memory


def _first_that_fits(ways: Sequence[Choice]) -> Choice:
    """Returns the first way to run that fits, of none the first: of several GPUs the smallest may be too small."""
    return next((way for way in ways if way.cap_seconds), ways[0])


@dataclass(frozen=True)
class _Report:
    """What the planner has found."""

    title: str
    lengths_seconds: Collection[float]  # of utterances, of which it is shown how many fit
    ways: Sequence[Choice]  # of one GPU the fastest that fits first; of several the best of each
    run: PlannedRun  # by the best way

    @property
    def best(self) -> Choice:
        """The first way that fits, if any does."""
        return _first_that_fits(self.ways)


def plan(options: PlanOptions, gpus: Sequence[Gpu]) -> None:
    """Finds what fits and prints it.

    Args:
        options: Of the command.
        gpus: The kinds of GPU to try.

    Raises:
        CliError: The model or the data cannot be found, nothing fits, or the page cannot be written.
    """
    options, run_plan, chosen = _choose_settings(options)
    longest_seconds = run_plan.longest_samples / SAMPLE_RATE_HZ if run_plan else LENGTHS_SECONDS[-1]
    lengths_seconds = {*(seconds for seconds in LENGTHS_SECONDS if seconds < longest_seconds), longest_seconds}
    head_only = run_plan is not None and trains_head_only(options.run, run_plan)
    found = search(options.run, lengths_seconds, gpus, options.gpus, fixed=options.given, head_only=head_only)
    report = _report(options, run_plan, chosen, lengths_seconds, found)

    if options.html:
        problem = "" if report.best.cap_seconds else _nothing_fits(options, longest_seconds, run_plan)
        _write_page(options.html, report, _ways_by_budget(options, report, head_only), problem)
    if options.json:
        print(json.dumps([way.to_dict() for way in report.ways], indent=2))
        return
    _print_table(report)
    if len(gpus) > 1:
        return
    if not report.best.cap_seconds:
        raise CliError(_nothing_fits(options, longest_seconds, run_plan))
    _print_best(report)


def _choose_settings(options: PlanOptions) -> tuple[PlanOptions, RunPlan | None, Chosen]:
    """Returns the options with all settings of the run, its plan on the given data (None without), what was chosen."""
    config = options.run
    # It changes no length, but a run would refuse what is wrong with its folders.
    augmentation = open_augmentation(config.data.augment) if config.data.train else None
    recognizer = build_meta_recognizer(
        at_revision(config.model.model, config.model.revision),
        dtype=torch.float32,
        language=config.model.language or "",
    )
    catalog = read_mix(config.data.train, config.data.mix_temperature) if config.data.train else None
    config, run_plan, chosen = settings_before_a_run(
        config, catalog, options.hours, recognizer, augmentation=augmentation.fingerprint if augmentation else ""
    )
    return replace(options, run=config), run_plan, chosen


def _report(
    options: PlanOptions,
    run_plan: RunPlan | None,
    chosen: Chosen,
    lengths_seconds: Collection[float],
    found: Mapping[str, Sequence[Choice]],
) -> _Report:
    """Returns what to show of the choices that were found for each GPU: all of a single GPU, else the best of each."""
    if len(found) == 1:
        [ways] = found.values()
    else:
        ways = [choices[0] for choices in found.values()]

    hardware = f"{options.gpus} × {'each GPU' if options.gpu == 'all' else options.gpu}"
    utterances = f"utterances of {max(lengths_seconds):.3g} s and less"
    return _Report(
        title=f"{options.run.model.model} on {hardware}, {utterances}",
        lengths_seconds=lengths_seconds,
        ways=ways,
        run=_planned_run(options, run_plan, chosen, _first_that_fits(ways)),
    )


def _command(options: PlanOptions, best: Choice) -> str:
    """Returns the command that trains so, with the flags that were given."""
    model = shlex.quote(options.run.model.model)
    command = f"deepspeed -q --num_gpus {options.gpus} launch/train.py --model {model} {best.flags}"
    settings = to_dict(options.run)
    for name in options.given:
        if name not in ("model", *SEARCHED):
            value = settings[name]
            text = ",".join(value) if isinstance(value, list) else str(value)
            command += f" --{name} {shlex.quote(text)}"
    return command


def _planned_run(options: PlanOptions, run_plan: RunPlan | None, chosen: Chosen, best: Choice) -> PlannedRun:
    """Returns what the run by a way is going to do, and how long it takes if it fits."""
    config = options.run
    steps_per_epoch = run_plan.steps_per_epoch if run_plan else chosen.hours * 3600 / config.batching.step_seconds
    steps = count_steps(config, math.ceil(steps_per_epoch))
    summary = None
    if run_plan is not None and best.cap_seconds:
        cap_samples = int(best.cap_seconds * SAMPLE_RATE_HZ)
        summary = summarise_plan(run_plan, world_size=best.gpus, cap_samples=cap_samples)
    duration = best.duration(steps, config.optimisation.freeze_steps) if best.cap_seconds else None
    source = best.gpu.slowdown.source
    return PlannedRun(_command(options, best), config, chosen, steps, steps_per_epoch, duration, source, summary)


def _print_table(report: _Report) -> None:
    """Prints a line for each way to run."""
    rows = [plan_text.header(report.lengths_seconds)]
    rows += [plan_text.row(way) for way in report.ways]
    print(f"{report.title}\n\n{plan_text.aligned(rows)}")


def _print_best(report: _Report) -> None:
    """Prints what the best way needs of the GPU and beside it, and how to run it."""
    best = report.best
    total_bytes = sum(best.peak_bytes.values())
    peak_bytes = best.peak_bytes | {f"of {best.gpu.memory_gib:g} GiB": total_bytes}
    print("\n" + plan_text.memory_table("peak of the first line", peak_bytes))
    print("\n" + plan_text.memory_table("beside the GPU, at most, for rank 0", best.host_bytes))
    print(f"\n{report.run.text}")
    if report.run.config.model.compile_layers:
        print(UNPLANNED)


def _nothing_fits(options: PlanOptions, longest_seconds: float, run_plan: RunPlan | None) -> str:
    """Returns what to change where no way to run fits."""
    removals = "".join(f"leave out --{name}, " for name in SEARCHED if name in options.given)
    slowdown = run_plan.slowdown if run_plan else ""
    return (
        f"an utterance of {longest_seconds:.3g} s{slowdown} fits {options.gpus} × {options.gpu} in no way: {removals}"
        "choose a smaller --model, a larger --gpu, more --gpus, --lora_rank 16, or shards of less --max_seconds"
    )


def _ways_by_budget(options: PlanOptions, report: _Report, head_only: bool) -> list[list[Choice]]:
    """Returns the choices for GPUs like the best's, of growing memory up to its own."""
    gpu = report.best.gpu
    sizes_gib = np.linspace(gpu.memory_gib / BUDGETS, gpu.memory_gib, BUDGETS).tolist()
    budgets = [replace(gpu, name=f"{size_gib} GiB", memory_gib=size_gib) for size_gib in sizes_gib]
    lengths_seconds = report.lengths_seconds
    found = search(options.run, lengths_seconds, budgets, options.gpus, fixed=options.given, head_only=head_only)
    return list(found.values())


def _write_page(path: str, report: _Report, ways_by_budget: Sequence[Sequence[Choice]], problem: str) -> None:
    """Writes the page of `--html`; `problem` is what to change where nothing fits."""
    best = report.best
    header = plan_text.header(report.lengths_seconds)
    rows = [plan_text.row(way) for way in report.ways]
    others = len({way.gpu.name for way in report.ways}) - 1
    order = "each GPU at its fastest configuration" if others else "the fastest first"
    note = (
        f"Estimated, {order}. Cap: seconds of padded audio that a GPU holds at once. Columns of lengths: how "
        "many utterances of that length it holds. Peak: memory of a GPU. Step: time of an optimizer step."
    )
    sections = {
        "What will run": opening_blocks(report.run, best, problem, others),
        "What fits": [html.table("Ways to run it", header, rows, note=note)],
        "Memory": plan_page.memory_blocks(best),
        "Memory against time": plan_page.frontier_blocks(best, ways_by_budget),
        "The data": data_blocks(report.run),
    }
    html.write_page(path, report.title, "Estimated before the run, without a GPU", sections)
