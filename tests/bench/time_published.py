"""Estimated times of passes beside the speed of runs that others have published; a part of bench_memory.py.

For each run: how many times as long it took as the bound by arithmetic, memory and launches. Those without a frozen
stem pretrained, which is a pass of the same layers with another loss.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.passes import config_file
from helpers.planned import ARCHITECTURES

from asrscale.memory.gpus import GPUS
from asrscale.memory.timing import operation_seconds
from asrscale.memory.workload import Workload, sketch

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class PublishedRun:
    """A run whose audio and time others have published."""

    source: str
    model: str
    gpu: str
    gpus: int
    audio_seconds: float  # padded, of all GPUs together, where the source says so; else of the recordings
    run_seconds: float
    utterances: int  # of a pass of a GPU, as far as it is known
    seconds: float  # of each of them
    every: int = 0  # activation checkpointing
    frozen: bool = True  # the stem


# The frames of NVIDIA's tables are of 20 ms. LibriSpeech's utterances have 12.3 s in the mean, and the 3,478 of Common
# Voice's Turkish 3.6 s, which in 15 epochs are 52 hours.
PUBLISHED = (
    PublishedRun(
        "NVIDIA DeepLearningExamples, fine-tuning, table of throughput, 1 GPU",
        "base", "a100-80", 1, 41_275.76 * 0.02, 1.0, 16, 12.5,
    ),
    PublishedRun(
        "the same, 8 GPUs",
        "base", "a100-80", 8, 207_200.91 * 0.02, 1.0, 16, 12.5,
    ),
    PublishedRun(
        "the same, 320,000 updates of 8 x 3.2 M samples in 6.5 h",
        "base", "a100-80", 8, 320_000 * 8 * 3.2e6 / 16_000, 6.5 * HOUR, 16, 12.5,
    ),
    PublishedRun(
        "wav2vec 2.0 (arXiv 2006.11477), pretraining: 400,000 updates of 1.6 h in 1.6 days",
        "base", "v100-32", 64, 400_000 * 1.6 * HOUR, 1.6 * DAY, 7, 12.5, frozen=False,
    ),
    PublishedRun(
        "the same: 250,000 updates of 2.7 h in 2.3 days",
        "XLS-R 300M", "v100-32", 128, 250_000 * 2.7 * HOUR, 2.3 * DAY, 6, 12.5, frozen=False,
    ),
    PublishedRun(
        "the same: 600,000 updates of 2.7 h in 5.2 days",
        "XLS-R 300M", "v100-32", 128, 600_000 * 2.7 * HOUR, 5.2 * DAY, 6, 12.5, frozen=False,
    ),
    PublishedRun(
        "transformers' example, Common Voice Turkish, 15 epochs in 1 h 20 min with evaluations",
        "XLS-R 300M", "v100-32", 1, 15 * 3_478 * 3.6, 80 * 60.0, 16, 3.6, every=1,
    ),
    PublishedRun(
        "transformers' example, LibriSpeech 100 h, 3 epochs in 1 h 30 min with evaluations",
        "XLS-R 300M", "v100-32", 8, 3 * 100.6 * HOUR, 1.5 * HOUR, 4, 12.7, every=1,
    ),
)  # fmt: skip


def bound_speed(run: PublishedRun) -> float:
    """Seconds of audio that a GPU computes in a second, if nothing but its operations takes time."""
    with config_file(ARCHITECTURES[run.model]) as path:
        workload = Workload(
            model=path, dtype=torch.float16, step_seconds=160.0, freeze_feature_encoder=run.frozen
        )  # fmt: skip
        [cost] = sketch(workload, run.every, [run.seconds]).costs
    gpu = GPUS[run.gpu]
    pass_seconds = float(operation_seconds(cost, run.utterances, gpu).sum()) / gpu.slowdown.likely
    return run.utterances * run.seconds / pass_seconds


def published_times() -> None:
    """Prints how much longer published runs took than their bound."""
    print("| run | model | GPU | x real time of a GPU | bound | times as long |")
    print("|---|---|---|---|---|---|")
    for run in PUBLISHED:
        speed = run.audio_seconds / run.run_seconds / run.gpus
        bound = bound_speed(run)
        gpus = f"{run.gpus} x {run.gpu}"
        cells = [run.source, run.model, gpus, f"{speed:,.0f}", f"{bound:,.0f}", f"{bound / speed:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
