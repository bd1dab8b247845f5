"""One optimizer step: its passes, its loss, its gradient, and what happens when memory runs out."""

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from asrscale.common import distributed
from asrscale.data.batches import Batch, silence
from asrscale.data.step_reader import Step
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import prepare_pass
from asrscale.training import engine as ds
from asrscale.training.engine import Engine
from asrscale.training.meter import Meter
from asrscale.training.run_context import RunContext


def train_step(engine: Engine, job: RunContext, step: Step, good: int, meter: Meter) -> tuple[Tensor, float | None]:
    """One optimizer step over the `good` utterances of all ranks; without any, no weight is touched.

    Where memory runs out, all of it is done again in shorter passes.

    Returns:
        This rank's share of the step's mean loss, and the gradient's norm, which `engine.take_step` describes.

    Raises:
        CliError: There are no shorter passes to try.
    """
    total, failed_samples = torch.zeros((), device=job.world.device), 0
    if not good:
        return total, None
    for batch in (piece for whole in step.batches for piece in whole.cut(job.cap.samples)):
        share = run_pass(engine, job, batch, step.number, good, meter)
        if share is None:
            failed_samples = batch.waveforms.numel()
            break
        total += share
    learning_rate = job.learning_rate(step.number) if step.number >= 0 else 0.0
    norm = ds.take_step(engine, learning_rate, head_only=step.number < job.config.optimisation.freeze_steps)
    failed = [] if math.isfinite(norm) else distributed.gather_objects(failed_samples, job.world)
    if not any(failed):
        return total, norm
    least = min(filter(None, failed))
    job.cap.lower(least, step=step.number + 1, rank=failed.index(least), tell=job.world.is_main)
    return train_step(engine, job, step, good, meter)


def run_pass(engine: Engine, job: RunContext, batch: Batch, number: int, good: int, meter: Meter) -> Tensor | None:
    """Forward and backward of a pass of step `number`: its share of the loss.

    Where memory runs out None, and the gradient is made not finite, so that DeepSpeed drops what it has of it on all
    ranks; but where ranks meet inside of a pass they are told to leave, and their watches end them, and this one.
    """
    job.watch.beat()  # a step of hundreds of passes is no hang
    prepare_pass(job.regulariser, job.recognizer.model, batch, seed=job.config.general.seed, step=number)
    began = time.perf_counter()
    try:
        share = loss_sum(engine, job.recognizer, batch.to(job.world.device)) / good
        meter.forward_seconds += time.perf_counter() - began
        ds.backward(engine, share, job.world)
        return share.detach()
    except RuntimeError as error:
        if not ds.is_out_of_memory(error):
            raise
        if ds.meets_inside_passes(engine, job.world):
            cap = replace(job.cap)  # who leaves keeps to the old one, as the others do
            cap.lower(batch.waveforms.numel(), step=number + 1, rank=job.world.rank, leave=True)
            raise
    # Out here, the error holds no tensor any more.
    torch.cuda.empty_cache()
    ds.abandon_pass(engine)
    nobody = silence(job.recognizer.vocabulary)
    prepare_pass(job.regulariser, job.recognizer.model, nobody, seed=job.config.general.seed, step=number)
    ds.backward(engine, loss_sum(engine, job.recognizer, nobody.to(job.world.device)) * math.nan, job.world)
    return None


def rehearse(engine: Engine, job: RunContext) -> None:
    """The largest pass there can be, of silence, and a step that changes nothing.

    What cannot fit fails now; and the optimizer's states exist, which the first real steps, if skipped, would not make.
    """
    longest, count = job.plan.longest_samples, job.plan.most_utterances(job.cap.samples, job.world.world_size)
    largest = silence(job.recognizer.vocabulary, count, longest)
    engine.train()
    train_step(engine, job, Step(-1, 0, 0, 0, [largest], (), job.valid), 1, Meter())
    ds.set_adam_steps(engine, 0)


def loss_sum(engine: Engine, recognizer: Recognizer, batch: Batch) -> Tensor:
    """The summed loss of a pass: CTC loss over label length of each utterance; 0 for an empty pass."""
    logits = forward_logits(engine, recognizer, batch.waveforms, batch.num_samples)
    num_frames = count_frames(recognizer.model, batch.num_samples)
    losses = ctc_losses(logits, num_frames, batch.labels, batch.num_labels, recognizer.vocabulary.blank_id)
    return losses.sum() * (1.0 if len(batch.utterances) else 0.0)
