"""One optimizer step: its passes, its loss, its gradient, and what happens when memory runs out in a pass."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from asrscale.common import distributed
from asrscale.common.errors import CliError
from asrscale.common.out_of_memory import is_out_of_memory
from asrscale.data.batches import Batch, labels_of_speech, silence
from asrscale.data.step_reader import Step
from asrscale.model.forward import ctc_losses, forward_logits, has_padded_frames
from asrscale.model.freezing import held_below_head
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import prepare_pass
from asrscale.training import engine as ds
from asrscale.training.engine import Engine
from asrscale.training.meter import Meter
from asrscale.training.run_context import RunContext
from asrscale.training.schedule import LearningRates, average_decay_at

REHEARSAL = -1  # the number of the step before the first


def train_step(
    engine: Engine,
    context: RunContext,
    step: Step,
    good: int,
    meter: Meter,
    before_update: Callable[[], None] | None = None,
) -> tuple[Tensor, float | None]:
    """Takes one optimizer step over the `good` utterances of all ranks; without any, no weight changes. A collective.

    Where memory runs out, all of it is done again in shorter passes.

    Args:
        engine: Of the model.
        context: Of the run.
        step: What this rank has of the step.
        good: Utterances of the step, on all ranks.
        meter: Gets the seconds of forward passes.
        before_update: Called between the passes and the update, in each attempt; on all ranks or on none.

    Returns:
        This rank's share of the step's mean loss, and the gradient's norm as `engine.take_step` returns it; None
        without good utterances.

    Raises:
        CliError: There are no shorter passes to try.
    """
    if not good:
        return torch.zeros((), device=context.world.device), None
    loss, failed_samples = _run_passes(engine, context, step, good, meter)
    if before_update is not None:
        before_update()
    rates = LearningRates(0.0, 0.0) if step.number == REHEARSAL else context.learning_rates(step.number)
    norm = ds.take_step(engine, rates)
    if math.isfinite(norm):
        _update_average(engine, context, step.number)
        return loss, norm

    # A pass that failed has made the gradient of all ranks not finite; so may a bad loss.
    failed_samples_of_ranks = distributed.gather_objects(failed_samples, context.world)
    failures = [samples for samples in failed_samples_of_ranks if samples]
    if not failures:
        return loss, norm
    smallest = min(failures)
    rank = failed_samples_of_ranks.index(smallest)
    context.cap.lower(smallest, step=step.number + 1, rank=rank, report=context.world.is_main)
    return train_step(engine, context, step, good, meter, before_update)


def _update_average(engine: Engine, context: RunContext, number: int) -> None:
    """Adds the weights that step `number` has led to to their moving average, if the run keeps one."""
    decay = context.config.optimisation.ema
    if decay and number != REHEARSAL:
        ds.update_average(engine, average_decay_at(number, decay))


def _run_passes(engine: Engine, context: RunContext, step: Step, good: int, meter: Meter) -> tuple[Tensor, int]:
    """Runs this rank's passes of a step, up to one for which memory does not suffice.

    Returns:
        The sum of their shares of the loss, and the padded samples of the pass that failed; 0 where none did.
    """
    loss = torch.zeros((), device=context.world.device)
    for batch in _pieces(step, context.cap.samples):
        share = run_pass(engine, context, batch, step.number, good, meter)
        if share is None:
            return loss, batch.waveforms.numel()
        loss += share
    return loss, 0


def _pieces(step: Step, cap_samples: int) -> Iterator[Batch]:
    """The batches of a step, cut to the cap, which may be lower than when they were planned."""
    for batch in step.batches:
        yield from batch.cut(cap_samples)


def run_pass(engine: Engine, context: RunContext, batch: Batch, number: int, good: int, meter: Meter) -> Tensor | None:
    """Runs forward and backward of a pass of step `number`.

    Returns:
        The pass's share of the step's loss. None where memory ran out: then the gradient was made not finite, so that
        DeepSpeed drops, on all ranks, what it has of it.

    Raises:
        RuntimeError: Memory ran out where ranks meet inside of passes (ZeRO 2 and 3): all ranks were asked to exit, and
            their watches end them, and this one.
    """
    context.watch.beat()  # a step of hundreds of passes is no hang
    prepare_pass(context.regulariser, context.recognizer.model, batch, seed=context.config.general.seed, step=number)
    started = time.perf_counter()
    try:
        share = _loss_of_pass(engine, context, batch, number) / good
        meter.forward_seconds += time.perf_counter() - started
        ds.backward(engine, share, context.world)
        return share.detach()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if ds.meets_inside_passes(engine, context.world):
            _ask_all_to_exit(context, batch, number)
            raise
    # Out here, the error holds no tensor any more.
    _void_gradient(engine, context, number)
    return None


def _ask_all_to_exit(context: RunContext, batch: Batch, number: int) -> None:
    """Writes the lower cap to RUN/rescues.jsonl, which the watches of all ranks read."""
    cap = replace(context.cap)  # this rank keeps the old one, as the others do
    cap.lower(batch.waveforms.numel(), step=number + 1, rank=context.world.rank, exit=True)


def _void_gradient(engine: Engine, context: RunContext, number: int) -> None:
    """Makes the gradient of a step not finite, by a pass of silence with a loss that is no number."""
    torch.cuda.empty_cache()
    ds.abandon_pass(engine)
    batch = silence(context.recognizer.vocabulary)
    prepare_pass(context.regulariser, context.recognizer.model, batch, seed=context.config.general.seed, step=number)
    loss = _loss_of_pass(engine, context, batch, number)
    ds.backward(engine, loss * math.nan, context.world)


def _loss_of_pass(engine: Engine, context: RunContext, batch: Batch, number: int) -> Tensor:
    """The summed loss of a pass of step `number`, with a gradient for what the step trains."""
    is_held = context.trains_head_only if number == REHEARSAL else context.learning_rates(number).below is None
    with held_below_head(context.recognizer.model) if is_held else nullcontext():
        return loss_sum(engine, context.recognizer, batch)


def rehearse(engine: Engine, context: RunContext) -> None:
    """Runs the largest pass there can be, of silence, and a step that changes nothing. A collective.

    What cannot fit fails now, as far as any step of the run computes it; and the optimizer's states exist, of all
    weights, which the first real steps, if skipped or of the head only, would not make.

    Raises:
        CliError: The gradient is not finite, which it would not be in any step; or as `train_step`.
    """
    step = Step(
        number=REHEARSAL,
        utterances=0,
        audio_samples=0,
        padded_samples=0,
        batches=[_largest_batch(context)],
        damaged=(),
        index=context.valid_subset,
    )
    engine.train()
    _, norm = train_step(engine, context, step, good=1, meter=Meter())
    if norm is None or not math.isfinite(norm):
        model = context.config.model.model
        precision = context.config.memory.precision
        raise CliError(
            f"--model {model}: already its gradient of silence is not finite in {precision}: choose another "
            "checkpoint, or another --precision such as fp32"
        )
    ds.set_adam_steps(engine, of_head=0, below=0)


def _largest_batch(context: RunContext) -> Batch:
    """The largest pass of the run, of silence."""
    recognizer = context.recognizer
    utterances = context.plan.most_utterances(context.cap.samples, context.world.world_size)
    longest_samples = context.plan.longest_samples
    num_labels = labels_of_speech(longest_samples, recognizer.geometry.num_frames(longest_samples))
    return silence(recognizer.vocabulary, utterances, longest_samples, num_labels=num_labels)


def loss_sum(engine: Engine, recognizer: Recognizer, batch: Batch) -> Tensor:
    """The summed loss of a pass: CTC loss over label length of each utterance; 0 for an empty pass.

    Nothing waits for a GPU: what depends on lengths is decided by those of the batch, which is on the host.
    """
    on_device = batch.to(engine.device)
    # Silence has no padding, but the rehearsal stands for a pass that may have some, and needs more memory then.
    is_silence = not len(batch.utterances)
    has_padding = is_silence or has_padded_frames(recognizer, batch.num_samples, batch.waveforms.shape[1])
    logits = forward_logits(engine, recognizer, on_device.waveforms, on_device.num_samples, has_padding=has_padding)
    num_frames = torch.from_numpy(recognizer.geometry.num_frames(batch.num_samples.numpy()))
    blank = recognizer.vocabulary.blank_id
    losses = ctc_losses(logits, num_frames, on_device.labels, batch.num_labels, blank=blank)
    return losses.sum() * (0.0 if is_silence else 1.0)
