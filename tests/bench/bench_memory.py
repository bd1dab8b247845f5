"""How exact the memory planner is, on a machine without a GPU.

python tests/bench/bench_memory.py passes     # predicted against measured bytes of passes on the CPU
python tests/bench/bench_memory.py ranks      # against real DeepSpeed ranks, ZeRO 0 to 3
python tests/bench/bench_memory.py published  # against what others measured on a GPU
python tests/bench/bench_memory.py times      # estimated times against what others measured
python tests/bench/bench_memory.py cards      # what fits on which card, and what saves how much
python tests/bench/bench_memory.py heads      # what of it are logits and loss
python tests/bench/bench_memory.py savers     # what saves how much on this CPU, and its price in time
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.memory_published import published
from bench.memory_ranks import ranks
from bench.time_published import published_times
from helpers.models import FAMILIES
from helpers.passes import (
    SHORT_SLICE_SAMPLES,
    SMALL,
    CpuSemantics,
    config_file,
    masked,
    measure_pass,
    save_memory,
    set_slices,
    sketched,
    weighted,
)
from helpers.planned import ARCHITECTURES

from asrscale.memory import timing
from asrscale.memory.choices import cap_of
from asrscale.memory.deepspeed_states import States, deepspeed_states
from asrscale.memory.gpu_memory import activation_budget_bytes
from asrscale.memory.gpus import GPUS, find_gpu
from asrscale.memory.pass_cost import PassCost, trace_pass
from asrscale.memory.workload import Workload, sketch
from asrscale.model.lora import add_lora
from asrscale.model.padding import SLICE_SAMPLES
from asrscale.model.recognizer import Recognizer
from asrscale.training.memory_plan import zero_sections

BASE = dict(num_hidden_layers=3, vocab_size=32)  # the other defaults of transformers are those of wav2vec2-base
SHAPES = ((1, 4.0), (2, 3.0), (5, 1.0), (3, 2.5))  # utterances, seconds
WHOLE_STEM = 10**9  # samples of a slice that no pass is longer than
NOTEBOOK_SECONDS = 20  # 2 clips, each padded to 10 s


# --- passes


@dataclass(frozen=True)
class ComparedPass:
    """What was predicted of a pass, and what was measured; bytes above the weights."""

    model: str
    norm: str
    attention: str
    checkpointed: bool
    frozen: bool
    utterances: int
    seconds: float
    allocated: float
    inside: str
    predicted_peak: float
    measured_peak: float
    predicted_saved: float
    measured_saved: float

    @property
    def settings(self) -> tuple[str, str, str, bool, bool]:
        """All but the shape."""
        return self.model, self.norm, self.attention, self.checkpointed, self.frozen


def compare_passes(sizes: dict[str, dict[str, Any]]) -> Iterator[ComparedPass]:
    """Predicted and measured bytes for every combination of what decides them."""
    for (name, size), norm, attention in itertools.product(sizes.items(), FAMILIES, ("eager", "sdpa")):
        for checkpointed, frozen in itertools.product((False, True), repeat=2):
            sketch = sketched(size | FAMILIES[norm], attention, torch.float32)
            real = weighted(sketch, attention, torch.float32)
            ours = masked(real, 0.05)
            traced = masked(sketch, 0.05)
            for recognizer in (real, sketch):
                save_memory(recognizer, frozen=frozen, every=1 if checkpointed else 0)
            for utterances, seconds in SHAPES:
                cost = trace_pass(sketch, seconds, traced, CpuSemantics())
                timeline = cost.timeline_bytes(utterances)
                measured = measure_pass(real, ours, utterances, seconds)
                yield ComparedPass(
                    model=name,
                    norm=norm,
                    attention=attention,
                    checkpointed=checkpointed,
                    frozen=frozen,
                    utterances=utterances,
                    seconds=seconds,
                    allocated=measured.allocated_bytes,
                    inside=measured.inside,
                    predicted_peak=float(timeline.max()),
                    measured_peak=measured.peak_bytes - cost.weights_bytes,
                    predicted_saved=float(timeline[cost.forward_rows.loss]),
                    measured_saved=measured.saved_bytes - cost.weights_bytes,
                )


def passes() -> None:
    """Prints a line a combination: the worst relative errors over the shapes."""
    compared = []
    for one in compare_passes({"base, 3 layers": BASE, "small": SMALL}):
        compared.append(one)
        print(json.dumps(asdict(one)), file=sys.stderr, flush=True)
    print(
        "| model | norm | attention | checkpointing | stem | saved | peak of tensors | peak of the allocator | inside |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for settings, group in itertools.groupby(compared, key=lambda one: one.settings):
        cases = list(group)
        saved = max((case.predicted_saved / case.measured_saved - 1 for case in cases), key=abs)
        peak = max((case.predicted_peak / case.measured_peak - 1 for case in cases), key=abs)
        allocated = max((case.predicted_peak / case.allocated - 1 for case in cases), key=abs)
        inside = ", ".join(sorted({case.inside.removeprefix("aten::") for case in cases}))
        model, norm, attention, checkpointed, frozen = settings
        words = [model, norm, attention, "on" if checkpointed else "off", "frozen" if frozen else "trained"]
        print(f"| {' | '.join(words)} | {saved:+.2%} | {peak:+.2%} | {allocated:+.1%} | {inside} |")


# --- what fits


def sketch_of(path: str, *, every: int = 0, slices: bool = True, rank: int = 0) -> tuple[Recognizer, PassCost]:
    """A model, and what a pass of 10 s utterances costs."""
    # Without slices any size is a whole one.
    set_slices(SLICE_SAMPLES, SLICE_SAMPLES if slices else WHOLE_STEM)
    workload = Workload(model=path, dtype=torch.bfloat16, step_seconds=160.0, lora_rank=rank)
    sketched = sketch(workload, every, [10.0])
    recognizer, [cost] = sketched.recognizer, sketched.costs
    return recognizer, cost


def pass_seconds(cost: PassCost) -> float:
    """Estimated compute of 16 utterances on an A100."""
    return float(timing.operation_seconds(cost, 16, GPUS["a100-40"]).sum())


@dataclass(frozen=True)
class Saver:
    """Settings that save memory."""

    words: str
    zero: str = "zero2"
    every: int = 0
    slices: bool = True
    rank: int = 0


SAVERS = (
    Saver("whole stem", slices=False),
    Saver("sliced stem (all below)"),
    Saver("checkpointing every 4th layer", every=4),
    Saver("checkpointing every 2nd layer", every=2),
    Saver("checkpointing every layer", every=1),
    Saver("checkpointing every layer, whole stem", every=1, slices=False),
    Saver("offload", zero="zero2_offload"),
    Saver("offload, checkpointing every layer", zero="zero2_offload", every=1),
    Saver("LoRA, rank 16", rank=16),
    Saver("LoRA, rank 16, checkpointing every layer", rank=16, every=1),
)
CARDS = ("6", "8", "12", "16", "24", "40", "80")


def caps(cost: PassCost, states: States) -> list[int]:
    """The most padded seconds of a pass on each card; 0 where an utterance does not fit."""
    budgets = [activation_budget_bytes(find_gpu(card), states, 1) for card in CARDS]
    return [cap_of([cost], budget_bytes) for budget_bytes in budgets]


def cards() -> None:
    """Prints the most padded seconds of a pass of 10 s utterances by card, model and what saves memory, and its price.

    Time is that of the arithmetic of a pass, to that without checkpointing. The notebook's settings are 2 clips padded
    to 10 s, fp16 by autocast (weights, gradients and moments in fp32: 16 bytes a parameter), every layer checkpointed.
    """
    names = " | ".join(find_gpu(card).name for card in CARDS)
    print(f"| model | settings | time | {names} |\n|---|---|---|{'---|' * len(CARDS)}")
    for (model, settings), saver in itertools.product(ARCHITECTURES.items(), SAVERS):
        with config_file(settings) as path:
            recognizer, cost = sketch_of(path, every=saver.every, slices=saver.slices, rank=saver.rank)
            slower = pass_seconds(cost) / pass_seconds(sketch_of(path)[1])
        [zero] = zero_sections([f"ds_configs/{saver.zero}.json"], "bf16").values()
        fitting = caps(cost, deepspeed_states(zero, recognizer.model, 1))
        cells = " | ".join(f"{cap_seconds:,}" if cap_seconds else "-" for cap_seconds in fitting)
        print(f"| {model} | {saver.words} | {slower:.2f} | {cells} |", flush=True)
        if not saver.slices and saver.every:
            print(f"| {model} | the notebook's | | {notebook_cells(recognizer, cost)} |", flush=True)


def notebook_cells(recognizer: Recognizer, cost: PassCost) -> str:
    """On which cards the notebook's settings fit."""
    parameters = sum(parameter.numel() for parameter in recognizer.model.parameters())
    states = States(weights=16.0 * parameters, gradients=0, optimizer=0, buckets=0, backward_bytes=0, step_bytes=0)
    return " | ".join(str(NOTEBOOK_SECONDS) if cap >= NOTEBOOK_SECONDS else "-" for cap in caps(cost, states))


def heads() -> None:
    """Prints the peak of a pass of 16 × 10 s, every layer checkpointed, by vocabulary.

    What is more than with 32 tokens is the most that logits and loss in slices could save.
    """
    print("| model | 32 tokens: MiB | 500 | 5,000 |\n|---|---|---|---|")
    for name, settings in ARCHITECTURES.items():
        peaks_bytes = []
        for tokens in (32, 500, 5000):
            with config_file(settings | {"vocab_size": tokens}) as path:
                _, cost = sketch_of(path, every=1)
            peaks_bytes.append(cost.timeline_bytes(16).max())
        cells = [f"{peak / 2**20:,.0f} ({peak / peaks_bytes[0] - 1:+.0%})" for peak in peaks_bytes]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def savers() -> None:
    """Prints what each saver is worth on this CPU and costs: base with 8 layers, 2 × 4 s, best of three."""
    print("| settings | predicted MB | tensors MB | seconds of the processor |\n|---|---|---|---|")
    for frozen, every, rank in ((False, 0, 0), (True, 0, 0), (True, 4, 0), (True, 2, 0), (True, 1, 0), (True, 1, 16)):
        sketch = sketched(BASE | FAMILIES["layer"] | dict(num_hidden_layers=8), "sdpa", torch.float32)
        real = weighted(sketch, "sdpa", torch.float32)
        for recognizer, device in ((real, "cpu"), (sketch, "meta")):
            if rank:
                with torch.device(device):
                    add_lora(recognizer.model, rank)
            save_memory(recognizer, frozen=frozen, every=every)
        ours = masked(real, 0.0)
        cost = trace_pass(sketch, 4.0, masked(sketch, 0.0), CpuSemantics())
        predicted_bytes = cost.timeline_bytes(2).max()

        seconds = []
        for _ in range(3):
            began = time.process_time()
            measured = measure_pass(real, ours, 2, 4.0)
            seconds.append(time.process_time() - began)
        peak_bytes = measured.peak_bytes - sum(parameter.numel() * 4 for parameter in real.model.parameters())
        words = f"{'frozen' if frozen else 'trained'} stem, every {every}, LoRA {rank}"
        sizes = f"{predicted_bytes / 1e6:,.0f} | {peak_bytes / 1e6:,.0f}"
        print(f"| {words} | {sizes} | {min(seconds):.2f} |", flush=True)


PARTS = {
    "passes": passes,
    "ranks": ranks,
    "published": published,
    "times": published_times,
    "cards": cards,
    "heads": heads,
    "savers": savers,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    set_slices(SHORT_SLICE_SAMPLES, SHORT_SLICE_SAMPLES)
    for part in sys.argv[1:2] or ("published", "times", "cards"):
        PARTS[part]()
