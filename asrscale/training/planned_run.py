"""A run that the planner has planned, as text and as the opening of a page."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from asrscale.common import html
from asrscale.common.html import Block, Number
from asrscale.common.html_chart import histogram
from asrscale.data.plan_summary import PlanSummary, format_summary
from asrscale.memory.choices import Choice, Duration
from asrscale.memory.gpus import GIB
from asrscale.memory.plan_text import checkpointing_text
from asrscale.training.config import TrainConfig
from asrscale.training.recipe_settings import Chosen, describe_recipe, flag_texts, recipe_occasion, recipe_rows

SCRIPT = "launch/train.py"  # the flags before it are the launcher's


@dataclass(frozen=True)
class PlannedRun:
    """What a run is going to do.

    Attributes:
        command: That starts it.
        config: Its settings.
        chosen: Which of these the recipe has chosen.
        steps: How many it takes.
        steps_per_epoch: How many of these are an epoch.
        duration: How long it takes; None where it does not fit.
        duration_source: What that is known by, in words.
        summary: Of its data; None without data.
    """

    command: str
    config: TrainConfig
    chosen: Chosen
    steps: int
    steps_per_epoch: float
    duration: Duration | None
    duration_source: str
    summary: PlanSummary | None

    @property
    def text(self) -> str:
        """The command, what the run does, how long it takes, and what its batches look like."""
        parts = [self.command, "", describe_recipe(self.config, self.chosen, self.steps, self.steps_per_epoch)]
        if self.duration is not None:
            parts.append(f"about {self.likely_time} of training, {self.range_of_time}: {self.duration_source}")
        parts += [format_summary(self.summary)] if self.summary is not None else []
        return "\n".join(parts)

    @property
    def likely_time(self) -> str:
        """How long it takes if it fits."""
        assert self.duration is not None, "it fits"
        return time_text(self.duration.likely_seconds)

    @property
    def range_of_time(self) -> str:
        """Between what the likely time may be."""
        assert self.duration is not None, "it fits"
        return f"from {time_text(self.duration.least_seconds)} to {time_text(self.duration.most_seconds)}"


def time_text(seconds: float) -> str:
    """Returns a time in hours, or in minutes where it is shorter than that."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.0f} min"


def opening_blocks(run: PlannedRun, best: Choice, problem: str, others: int) -> Iterator[Block]:
    """Yields what will run: in numbers, in sentences, and as a table of settings.

    Args:
        run: The run.
        best: The way to run it.
        problem: What to change where it fits in no way.
        others: How many more kinds of GPU the page is about.
    """
    if problem:
        yield html.prose("It does not fit", [f"{problem[0].upper()}{problem[1:]}."])
    else:
        of_many = f"On {best.gpu.name}; {html.counted(others, 'other GPU')} below" if others else ""
        yield html.numbers(of_many, _headline(run, best))
        yield html.prose("In words", _sentences(run, best), command=_on_lines(run.command))
    rows = [
        (text, "\n".join(flag_texts(run.chosen, names)))
        for text, names in recipe_rows(run.config, run.steps, run.steps_per_epoch).items()
    ]
    note = "Marked as given is what a flag has set; all else follows from the hours and the model."
    yield html.table(f"Settings for {recipe_occasion(run.chosen)}", ["what", "flags"], rows, note=note, is_wide=True)


def _on_lines(command: str) -> str:
    """Returns a command with a line for each flag of the run, which a shell reads as before."""
    lines: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--") and SCRIPT in chain.from_iterable(lines):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(map(shlex.join, lines))


def _headline(run: PlannedRun, best: Choice) -> Iterator[Number]:
    """Yields the numbers that decide whether one starts a run."""
    step_seconds = run.config.batching.step_seconds
    peak_gib = sum(best.peak_bytes.values()) / GIB
    epochs = run.steps / run.steps_per_epoch
    yield Number("Time of training", f"about {run.likely_time}", run.range_of_time)
    yield Number("Steps", f"{run.steps:,}", f"of {step_seconds:,g} s of audio; {epochs:,.1f} epochs")
    yield Number("Memory of a GPU", f"{peak_gib:.1f} GiB", f"at its peak, of {best.gpu.memory_gib:g} GiB")
    host_gib = sum(best.host_bytes.values()) / GIB
    yield Number("Memory beside the GPU", f"{host_gib:.1f} GiB", "at most, of the first rank")
    yield Number("Speed", f"{best.audio_seconds_per_second:,.0f} ×", f"real time; {best.step_seconds:.2f} s a step")


def _sentences(run: PlannedRun, best: Choice) -> Iterator[str]:
    """Yields the plan in sentences."""
    every = best.activation_checkpointing
    hardware = f"one {best.gpu.name}" if best.gpus == 1 else f"{best.gpus} × {best.gpu.name}"
    config = f"DeepSpeed's {Path(best.config).stem}"
    activations = (
        f"the activations of {checkpointing_text(every)} are recomputed" if every else "all activations are kept"
    )
    yield f"{run.config.model.model} is trained on {hardware} with {config}; {activations}."
    longest_seconds = max(best.utterances)
    step_seconds = run.config.batching.step_seconds
    yield (
        f"A GPU holds {best.cap_seconds:,} s of padded audio at once, {best.utterances[longest_seconds]:,} utterances "
        f"of {longest_seconds:.3g} s. A step of {step_seconds:,g} s is dealt to the GPUs in passes of at most that."
    )
    yield f"The time of training is known {run.duration_source}."
    if run.summary is None:
        yield f"The hours of training data, {run.chosen.hours:,g}, are assumed: with --train they are read."
    else:
        padding = run.summary.efficiency.padding
        yield f"An epoch has {run.summary.plan.steps_per_epoch:,} steps; {padding:.1%} of what is computed is padding."
    yield "Start it with this command:"


def data_blocks(run: PlannedRun) -> Iterator[Block]:
    """Yields what batches of the data look like, where there are some."""
    if run.summary is None:
        return
    yield histogram(
        "Units of batches by length",
        run.summary.longest_seconds,
        x_label="longest utterance of a unit in seconds",
        y_label="units of the first epoch",
        note="A unit is a group of utterances of about the same length; a step has several.",
    )
    found = run.summary.efficiency
    rows = [
        ("steps an epoch", f"{run.summary.plan.steps_per_epoch:,}"),
        ("windows, which are planned one after another", f"{len(run.summary.plan.windows):,}"),
        ("units a step", f"{run.summary.plan.units_per_step:,}"),
        ("padding, of what is computed", f"{found.padding:.1%}"),
        ("audio in passes without padded frames", f"{found.equal_frames:.0%}"),
        (f"mean / largest work of {run.summary.world_size} ranks", f"{found.balance:.3f}"),
    ]
    rows += [("mix", run.summary.mix)] if run.summary.mix else []
    yield html.table("How well batches are filled", ["measure", "value"], rows)
