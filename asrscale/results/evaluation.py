"""Transcribes data sets and counts errors: each utterance once, whatever the number of ranks."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

import numpy as np
import torch
from torch import nn

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError, Stopped
from asrscale.common.progress import progress
from asrscale.common.shard_cache import Cache
from asrscale.data.batches import MIN_BATCH_SAMPLES, Batch
from asrscale.data.epoch_plan import plan_epoch
from asrscale.data.hashing import hash_keys
from asrscale.data.index import Index
from asrscale.data.loader import load_steps
from asrscale.data.passes import cut_step
from asrscale.model.forward import count_frames, ctc_losses, forward_logits, greedy_texts
from asrscale.model.recognizer import Recognizer
from asrscale.results.metrics import ErrorCounts, count_errors
from asrscale.speech.normalisation import normalise
from asrscale.speech.pcm import SAMPLE_RATE_HZ

UNIT_SAMPLES, UNITS_PER_STEP = 40 * SAMPLE_RATE_HZ, 8  # a few together are long enough to deal evenly to the ranks


WINDOW = 4096  # utterances that are planned at once, and whose texts are in memory: some hours, and 2 MB


@dataclass(frozen=True)
class Evaluation:
    """The result on one set of utterances, the same on every rank but for what was `heard`."""

    errors: ErrorCounts  # summed over all utterances
    loss: float | None  # mean CTC loss per label of the utterances long enough for their transcript; None without any
    heard: IO[str]  # `hypotheses` as lines of JSON, on the disk where they are many; on rank 0 only
    damaged: int = 0  # utterances that could not be read and are in none of these

    def hypotheses(self) -> Iterator[tuple[int, str]]:
        """What was heard of each utterance, after its number in the index and in its order."""
        self.heard.seek(0)
        return map(json.loads, self.heard)


def evaluate(
    forward: nn.Module, recognizer: Recognizer, index: Index, world: World, *, memory_cap_seconds: float, threads: int,
    title: str | None, cache: Cache | None = None, should_stop: Callable[[], bool] | None = None,
) -> Evaluation:  # fmt: skip
    """Transcribes every utterance of `index` once, dealt to the ranks as a training step is.

    A collective: every rank calls it, with the same index. `forward` is the model, or the engine around it, and is left
    in evaluation mode; `memory_cap_seconds` is the padded audio of a pass; `title` is the progress bar's, if any;
    `should_stop` is called before each pass and after each step, and returns whether this rank was asked to stop.

    Raises:
        CliError: No utterance could be read.
        Stopped: `should_stop` returned True on some rank after a step.
    """
    forward.eval()
    lengths = np.maximum(index.num_samples, MIN_BATCH_SAMPLES)  # what the loader pads to
    cap = max(int(memory_cap_seconds * SAMPLE_RATE_HZ), int(lengths.max()))  # or one utterance, if longer
    heard = SpooledTemporaryFile(2**20, "w+")  # noqa: SIM115
    sums = np.array([*astuple(ErrorCounts()), 0.0, 0])  # and those of the losses, and their number
    lost: list[tuple[int, str]] = []
    shown, pin = world.is_main and title is not None, world.device.type == "cuda"
    with progress(len(index), title or "", "utterances", enabled=shown) as bar, torch.no_grad():
        for first in range(0, len(index), WINDOW):
            window, found = lengths[first : first + WINDOW], list[tuple[int, str]]()
            plan = plan_epoch(window, seed=0, epoch=0, batch_samples=UNIT_SAMPLES, units_per_step=UNITS_PER_STEP)
            units = [[first + unit for unit in plan.step(number)] for number in range(plan.num_steps)]
            cuts = (cut_step(one, lengths, memory_cap_samples=cap, world_size=world.world_size) for one in units)
            own_passes = (cut[world.rank] for cut in cuts)
            steps = load_steps(index, recognizer.vocabulary, own_passes, threads=threads, pin=pin, cache=cache)
            for step_units, step in zip(units, steps, strict=True):
                lost += [(one.utterance, one.reason) for one in step.damaged]
                for batch in step.batches:
                    if should_stop is not None:
                        should_stop()
                    texts, losses = transcribe_batch(forward, recognizer, batch.to(world.device))
                    found += zip(map(int, batch.utterances), texts, strict=True)
                    references = [index.texts[i].as_py() for i in batch.utterances]  # few: jiwer takes 5 kB each
                    sums += [*astuple(count_errors(references, list(map(normalise, texts)))), sum(losses), len(losses)]
                bar.advance(sum(map(len, step_units)))
                if should_stop is not None and any(distributed.all_reduce_sum([should_stop()], world)):
                    raise Stopped
            every = sorted(pair for part in distributed.gather_objects(found, world) for pair in part if world.is_main)
            heard.writelines(f"{json.dumps(pair)}\n" for pair in every)

    *counts, loss_sum, num_losses = distributed.all_reduce_sum(sums.tolist(), world)
    damaged = sorted(pair for part in distributed.gather_objects(lost, world) for pair in part)
    for i, reason in damaged if world.is_main else []:
        print(f"{index.name(i)} is left out: {reason}", file=sys.stderr, flush=True)
    if len(damaged) == len(index):
        raise CliError(f"none of {len(index):,} utterances can be read, such as {index.name(0)}: {damaged[0][1]}")
    loss = loss_sum / num_losses if num_losses else None
    return Evaluation(ErrorCounts(*map(round, counts)), loss, heard, len(damaged))


def transcribe_batch(forward: nn.Module, recognizer: Recognizer, batch: Batch) -> tuple[list[str], list[float]]:
    """Texts of a pass, and the finite ones of its losses; neither for an empty pass, which is only run."""
    logits = forward_logits(forward, recognizer, batch.waveforms, batch.num_samples)
    if not len(batch.utterances):
        return [], []
    num_frames = count_frames(recognizer.model, batch.num_samples)
    rows = batch.num_labels > 0
    labelled = logits[rows], num_frames[rows], batch.labels[rows], batch.num_labels[rows]
    losses = ctc_losses(*labelled, recognizer.vocabulary.blank_id).tolist()
    return greedy_texts(recognizer, logits, num_frames), [loss for loss in losses if math.isfinite(loss)]


def choose_subset(index: Index, size: int) -> Index:
    """A fixed sample of an index, the same on every rank and in every run; the whole where it is small."""
    if len(index) <= size:
        return index
    return index.take(np.sort(np.argsort(hash_keys(len(index), 0), kind="stable")[:size]))
