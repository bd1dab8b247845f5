"""How fast steps are: of base and large, beside the bound of the planner, beside Trainer, and without a mask."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asrscale.memory.gpus import Gpu
from asrscale.memory.timing import operation_seconds
from asrscale.memory.workload import Workload, sketch
from asrscale.training import engine as ds
from gpu.machine import DEVICE, DTYPES, ON_CPU, Finding, half_precision, known_card, seconds_of, synchronize
from gpu.models import batch_of, lengths, make_model, passes, write_model
from gpu.steps import config_of, make_engine, mean_loss, take_step

CAP_SECONDS = 30.0 if ON_CPU else 160.0  # padded audio of a step, which is one pass
STEPS = 2 if ON_CPU else 30
TRAINER_STEPS, TRAINER_WARMUP = (3, 1) if ON_CPU else (30, 5)


def speed() -> Iterator[Finding]:
    """Yields the speed of steps on utterances as long as those of Common Voice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours: dict[str, float] = {}
        with ds.joined_ranks() as world:
            for size in ("base", "large"):
                for every in (0, 1):
                    finding = speed_of_steps(folder, size, every, world)
                    ours.setdefault(size, finding.numbers["audio_seconds_per_second"])
                    yield finding
            yield without_mask(folder)
        for size, rate in ours.items():
            yield speed_of_trainer(folder, size, rate)


def some_passes() -> list[np.ndarray]:
    """As many passes as there are steps, spread over all lengths."""
    found = list(passes(CAP_SECONDS))
    return [found[round(place)] for place in np.linspace(0, len(found) - 1, STEPS)]


def speed_of_steps(folder: Path, size: str, every: int, world: Any) -> Finding:
    """Whole steps: forward, backward, reducing, AdamW."""
    recognizer = make_model(folder, size, every=every)
    engine = make_engine(recognizer, config_of("zero2", half_precision()))
    batches = [batch_of(some, number) for number, some in enumerate(some_passes())]
    take_step(engine, recognizer, batches[-1], world)
    synchronize()
    began = time.perf_counter()
    for batch in batches:
        take_step(engine, recognizer, batch, world)
    synchronize()
    seconds = time.perf_counter() - began
    engine.destroy()
    audio_seconds = sum(some.sum() for some in some_passes()) / 16_000
    bound_seconds, flops = bound_of_passes(str(write_model(folder, size)), every, known_card())
    rate = audio_seconds / seconds
    teraflops = flops / seconds / 1e12
    slowdown = seconds / bound_seconds
    text = f"{rate:,.0f} x real time, {teraflops:.1f} TFLOP/s, {slowdown:.2f} times as long as the bound"
    numbers = dict(audio_seconds_per_second=rate, teraflops=teraflops, slowdown=slowdown)
    return Finding(
        f"steps of {CAP_SECONDS:g} s, {size}, {half_precision()}, checkpointing {every}", text, numbers=numbers
    )


def bound_of_passes(path: str, every: int, card: Gpu) -> tuple[float, float]:
    """Returns what the planner bounds the time of all passes by, and their FLOPs."""
    workload = Workload(model=path, dtype=DTYPES[half_precision()], step_seconds=CAP_SECONDS)
    shapes = [(len(some), int(some.max()) / 16_000) for some in some_passes()]
    seconds_of_shapes = sorted({seconds for _, seconds in shapes})
    kept = seconds_of_shapes[:: max(1, len(seconds_of_shapes) // 6)]  # a trace takes seconds; lengths between are near
    costs = {cost.seconds: cost for cost in sketch(workload, every, kept).costs}
    bound_seconds = flops = 0.0
    for utterances, seconds in shapes:
        nearest = min(costs, key=lambda other: abs(other - seconds))
        share = seconds / nearest
        times = operation_seconds(costs[nearest], utterances, card) / card.slowdown.likely
        bound_seconds += share * float(times.sum())
        flops += share * float(costs[nearest].flops.of(utterances).sum())
    return bound_seconds, flops


def speed_of_trainer(folder: Path, size: str, ours: float) -> Finding:
    """Stock Trainer with stock code on the same utterances, in batches of as many as ours have on average."""
    from transformers import AutoModelForCTC, Trainer, TrainerCallback, TrainingArguments

    size_of_batch = round(len(lengths()) / sum(1 for _ in passes(CAP_SECONDS)))
    clock: list[float] = []
    samples: list[int] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize()
            clock.append(time.perf_counter())

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        samples.append(sum(len(row["input_values"]) for row in rows))
        return padded(rows)

    model = AutoModelForCTC.from_pretrained(write_model(folder, size), ctc_loss_reduction="mean")
    model.freeze_feature_encoder()
    half = half_precision()
    arguments = TrainingArguments(
        output_dir=str(folder / f"trainer-{size}"), max_steps=TRAINER_STEPS, per_device_train_batch_size=size_of_batch,
        bf16=half == "bf16" and not ON_CPU, fp16=half == "fp16", report_to="none", save_strategy="no",
        remove_unused_columns=False, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows_of_noise(), data_collator=collate, callbacks=[Clock()])
    trainer.train()
    seconds = clock[TRAINER_STEPS - 1] - clock[TRAINER_WARMUP - 1]
    rate = sum(samples[TRAINER_WARMUP:TRAINER_STEPS]) / 16_000 / seconds
    text = f"{rate:,.0f} x real time in random batches of {size_of_batch}; ours is {ours / rate:.2f} times as fast"
    return Finding(f"Trainer, {size}", text, numbers={"audio_seconds_per_second": rate, "ratio": ours / rate})


def rows_of_noise() -> Any:
    """The utterances as Trainer takes them."""
    rng = np.random.default_rng(0)
    labels = torch.arange(10)
    return [
        {"input_values": torch.from_numpy(rng.standard_normal(samples).astype(np.float32)), "labels": labels}
        for samples in lengths()
    ]


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A batch as transformers' own collator makes it."""
    values = [row["input_values"] for row in rows]
    masks = [torch.ones(len(one)).long() for one in values]
    return {
        "input_values": torch.nn.utils.rnn.pad_sequence(values, batch_first=True),
        "attention_mask": torch.nn.utils.rnn.pad_sequence(masks, batch_first=True),
        "labels": torch.stack([row["labels"] for row in rows]),
    }


def without_mask(folder: Path) -> Finding:
    """A pass of equally long utterances with an attention mask and without."""
    recognizer = make_model(folder, "base")
    model = recognizer.model.to(DEVICE, DTYPES[half_precision()])
    batch = batch_of(np.full(8, 5 * 16_000))

    def run(has_padding: bool) -> None:
        mean_loss(model, recognizer, batch, has_padding=has_padding).backward()
        model.zero_grad()

    masked, free = (min(seconds_of(lambda given=given: run(given), 10)) for given in (True, False))
    text = f"{free * 1e3:.1f} ms without an attention mask, {masked * 1e3:.1f} ms with one: {masked / free:.2f} times"
    return Finding("a pass of equal frames, base", text, numbers={"ratio": masked / free})
