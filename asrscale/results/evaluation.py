"""Transcribes data sets and counts errors: each utterance once, whatever the number of ranks.

Shapes: N utterances of the index.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import chain
from operator import itemgetter
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError, Stopped
from asrscale.common.output_folder import disk_errors_as_cli_errors
from asrscale.common.progress import progress
from asrscale.common.shard_cache import Cache
from asrscale.data.batches import MIN_BATCH_SAMPLES, Batch
from asrscale.data.epoch_plan import EpochPlan, plan_epoch
from asrscale.data.hashing import Ids, hash_keys
from asrscale.data.index import Index
from asrscale.data.loader import Damaged, LoadedStep, load_steps
from asrscale.data.passes import cut_step
from asrscale.model.cpu_kernels import suitable_kernels
from asrscale.model.forward import count_frames, ctc_losses, forward_logits, has_padded_frames
from asrscale.model.recognizer import Recognizer
from asrscale.results.comparison import comparable
from asrscale.results.frame_texts import Hypothesis, TextReader, plain_reader
from asrscale.results.metrics import ErrorCounts, count_errors
from asrscale.results.totals import Totals
from asrscale.speech.pcm import SAMPLE_RATE_HZ

# Audio of a unit, and units of a step: a few units together are long enough to deal evenly to the ranks.
UNIT_SAMPLES = 40 * SAMPLE_RATE_HZ
UNITS_PER_STEP = 8

WINDOW = 4096  # utterances that are planned at once, and whose texts are in memory: some hours, and 2 MB

HYPOTHESES_IN_MEMORY_BYTES = 2**20  # more are kept on the disk


@dataclass(frozen=True)
class Evaluation:
    """The result on one set of utterances, the same on every rank but for the hypotheses."""

    errors: ErrorCounts  # summed over all utterances
    loss: float | None  # mean CTC loss per label of the utterances long enough for their transcript; None without any
    hypotheses_file: IO[str]  # the hypotheses as lines of JSON; on rank 0 only
    damaged: tuple[Damaged, ...] = ()  # utterances that could not be read and are in none of these

    def hypotheses(self) -> Iterator[tuple[int, str]]:
        """Yields the text of each utterance after its number in the index, in the order of the index."""
        return ((utterance, hypothesis.text) for utterance, hypothesis in self.details())

    def details(self) -> Iterator[tuple[int, Hypothesis]]:
        """Yields what is recognised in each utterance after its number in the index, in the order of the index."""
        self.hypotheses_file.seek(0)
        for line in self.hypotheses_file:
            utterance, hypothesis = json.loads(line)
            yield utterance, Hypothesis(*hypothesis)


@dataclass(frozen=True)
class _PassResult:
    hypotheses: list[tuple[int, Hypothesis]]  # of each utterance after its number in the index
    totals: Totals


@dataclass(frozen=True, eq=False)
class _Source:
    """The utterances of an evaluation, and how this rank reads its share of them."""

    index: Index
    lengths: Ids  # (N,) samples of each utterance as the loader pads it
    frames: Ids  # (N,) frames that the encoder gets of that
    recognizer: Recognizer
    read_texts: TextReader
    world: World
    cap_samples: int  # the most padded audio of a pass
    threads: int
    cache: Cache | None


@dataclass(frozen=True)
class _OwnStep:
    """This rank's share of a step."""

    loaded: LoadedStep
    utterances: int  # in the step, of all ranks


def evaluate(
    forward: nn.Module,
    recognizer: Recognizer,
    index: Index,
    world: World,
    *,
    memory_cap_seconds: float,
    threads: int,
    title: str | None,
    cache: Cache | None = None,
    should_stop: Callable[[], bool] | None = None,
    read_texts: TextReader | None = None,
) -> Evaluation:
    """Transcribes every utterance of `index` once, dealt to the ranks as a training step is.

    A collective: every rank calls it, with the same index.

    Args:
        forward: The recognizer's model, or the engine around it; is left in evaluation mode.
        recognizer: Transcribes.
        index: The utterances.
        world: The ranks.
        memory_cap_seconds: Padded audio of a pass.
        threads: Threads of this rank that read and decode.
        title: Of the progress bar; None shows none.
        cache: Copies of remote shards.
        should_stop: Called before each pass and after each step; returns whether this rank was asked to stop.
        read_texts: Reads the texts of logits; by default those of the best paths.

    Raises:
        CliError: No utterance could be read, or the disk of temporary files is full.
        Stopped: `should_stop` returned True on some rank after a step.
    """
    forward.eval()
    source = _open_source(recognizer, read_texts, index, world, memory_cap_seconds, threads=threads, cache=cache)
    hypotheses_file = tempfile.SpooledTemporaryFile(HYPOTHESES_IN_MEMORY_BYTES, "w+")  # noqa: SIM115 — read by the caller
    totals = Totals()
    damaged: list[Damaged] = []
    shown = world.is_main and title is not None
    with progress(len(index), title or "", "utterances", enabled=shown) as bar, torch.no_grad():
        for first in range(0, len(index), WINDOW):
            hypotheses: list[tuple[int, Hypothesis]] = []
            for step in _load_window(source, first):
                damaged += step.loaded.damaged
                for found in _transcribe_step(forward, source, step, should_stop):
                    hypotheses += found.hypotheses
                    totals += found.totals
                bar.advance(step.utterances)
                _raise_if_stopped(should_stop, world)
            _write_hypotheses(hypotheses_file, hypotheses, world)
    totals = Totals.from_vector(distributed.all_reduce_sum(totals.to_vector(), world))
    return Evaluation(
        errors=totals.errors,
        loss=totals.mean_loss,
        hypotheses_file=hypotheses_file,
        damaged=_gather_damaged(damaged, index, world),
    )


def _open_source(
    recognizer: Recognizer,
    read_texts: TextReader | None,
    index: Index,
    world: World,
    memory_cap_seconds: float,
    *,
    threads: int,
    cache: Cache | None,
) -> _Source:
    lengths = np.maximum(index.num_samples, MIN_BATCH_SAMPLES)
    cap_samples = int(memory_cap_seconds * SAMPLE_RATE_HZ)
    return _Source(
        index=index,
        lengths=lengths,
        frames=recognizer.geometry.num_encoder_frames(lengths),
        recognizer=recognizer,
        read_texts=read_texts or plain_reader(recognizer),
        world=world,
        cap_samples=max(cap_samples, int(lengths.max())),  # a longer utterance is a pass of its own
        threads=threads,
        cache=cache,
    )


def _load_window(source: _Source, first: int) -> Iterator[_OwnStep]:
    """Yields this rank's share of each step of the window that begins with utterance `first`."""
    window = slice(first, first + WINDOW)
    plan = plan_epoch(
        source.lengths[window],
        frames=source.frames[window],
        seed=0,
        epoch=0,
        batch_samples=UNIT_SAMPLES,
        units_per_step=UNITS_PER_STEP,
    )
    steps = [_units_of_step(plan, number, first) for number in range(plan.num_steps)]
    loaded_steps = load_steps(
        source.index,
        source.recognizer.vocabulary,
        (_own_passes(source, units) for units in steps),
        threads=source.threads,
        pin=source.world.device.type == "cuda",
        cache=source.cache,
    )
    for units, loaded in zip(steps, loaded_steps, strict=True):
        yield _OwnStep(loaded, utterances=sum(map(len, units)))


def _units_of_step(plan: EpochPlan, number: int, first: int) -> list[Ids]:
    """Returns the units of a step of a window, by numbers in the whole index; the window begins with `first`."""
    return [first + unit for unit in plan.step(number)]


def _own_passes(source: _Source, units: list[Ids]) -> list[Ids]:
    """Returns the passes of a step that this rank computes."""
    passes = cut_step(
        units,
        source.lengths,
        memory_cap_samples=source.cap_samples,
        world_size=source.world.world_size,
        frames=source.frames,
    )
    return passes[source.world.rank]


def _transcribe_step(
    forward: nn.Module, source: _Source, step: _OwnStep, should_stop: Callable[[], bool] | None
) -> Iterator[_PassResult]:
    """Yields the result of each pass; calls `should_stop` before each."""
    for batch in step.loaded.batches:
        if should_stop is not None:
            should_stop()
        yield _transcribe_pass(forward, source, batch)


def _transcribe_pass(forward: nn.Module, source: _Source, batch: Batch) -> _PassResult:
    """Transcribes a pass and counts its errors; an empty pass is only computed, so that collectives meet."""
    recognizer = source.recognizer
    has_padding = has_padded_frames(recognizer, batch.num_samples, batch.waveforms.shape[1])
    on_device = batch.to(source.world.device)
    with suitable_kernels(recognizer.model):  # those of the run that trained it: its predictions to the last digit
        logits = forward_logits(
            forward, recognizer, on_device.waveforms, on_device.num_samples, has_padding=has_padding
        )
    if not len(batch.utterances):
        return _PassResult([], Totals())
    num_frames = count_frames(recognizer.model, batch.num_samples)
    losses = _finite_losses(logits, num_frames, batch, on_device.labels, recognizer.vocabulary.blank_id)
    utterances = batch.utterances.tolist()
    hypotheses = list(zip(utterances, source.read_texts(utterances, logits, num_frames), strict=True))
    # The errors of a pass, not of a window: jiwer takes 5 kB for each utterance.
    texts = [(utterance, hypothesis.text) for utterance, hypothesis in hypotheses]
    errors = count_errors(*comparable(source.index, texts))
    return _PassResult(hypotheses, Totals(errors, loss=sum(losses), losses=len(losses)))


def _finite_losses(logits: Tensor, num_frames: Tensor, batch: Batch, labels: Tensor, blank_id: int) -> list[float]:
    """Returns the losses of the utterances that have labels and are long enough for them.

    The logits and the (B, L) labels are on the model's device, the (B,) frames and the batch on the host.
    """
    rows = torch.from_numpy(np.flatnonzero(batch.num_labels.numpy()))
    if not len(rows):  # torch computes no loss of nothing
        return []
    if len(rows) < len(labels):
        own = rows.to(labels.device, non_blocking=True)
        logits, labels = logits[own], labels[own]
    losses = ctc_losses(logits, num_frames[rows], labels, batch.num_labels[rows], blank=blank_id)
    return [loss for loss in losses.tolist() if math.isfinite(loss)]


def _raise_if_stopped(should_stop: Callable[[], bool] | None, world: World) -> None:
    """Raises Stopped on all ranks where `should_stop` returns True on any; a collective."""
    if should_stop is None:
        return
    [stopping] = distributed.all_reduce_sum([should_stop()], world)
    if stopping:
        raise Stopped


def _write_hypotheses(file: IO[str], hypotheses: list[tuple[int, Hypothesis]], world: World) -> None:
    """Writes the hypotheses of all ranks, in the order of the index, on rank 0; a collective.

    Raises:
        CliError: The disk that temporary files are on is full.
    """
    gathered = distributed.gather_objects(hypotheses, world)
    if world.is_main:
        with disk_errors_as_cli_errors("TMPDIR", os.environ.get("TMPDIR", "/tmp")):
            file.writelines(
                f"{json.dumps(pair)}\n" for pair in sorted(chain.from_iterable(gathered), key=itemgetter(0))
            )


def _gather_damaged(damaged: list[Damaged], index: Index, world: World) -> tuple[Damaged, ...]:
    """Returns the damaged utterances of all ranks, in the order of the index. A collective.

    Raises:
        CliError: All were.
    """
    gathered = chain.from_iterable(distributed.gather_objects([astuple(one) for one in damaged], world))
    everywhere = sorted((Damaged(*one) for one in gathered), key=lambda one: one.utterance)
    if len(everywhere) == len(index):
        reason = everywhere[0].reason
        raise CliError(f"none of {len(index):,} utterances can be read, such as {index.name(0)}: {reason}")
    return tuple(everywhere)


def choose_subset(index: Index, size: int) -> Index:
    """Returns a fixed sample of an index, the same on every rank and in every run; the whole where it is small."""
    if len(index) <= size:
        return index
    order = np.argsort(hash_keys(len(index), 0), kind="stable")
    return index.take(np.sort(order[:size]))
