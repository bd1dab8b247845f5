"""`--max_minutes`: how many steps fit into the time, and when the last of them must be done."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import torch

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.batches import Batch, labels_of_speech, silence
from asrscale.data.index import Index
from asrscale.data.passes import cut_step
from asrscale.data.run_plan import RunPlan, plan_visit
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import TrainConfig
from asrscale.training.ds_config import Precision
from asrscale.training.recipe import Recipe

# What a training loop reaches of the speed of its bare passes (docs/experiments/beside-trainer.md: 0.77 for the
# smallest models, more for larger ones).
LOOP_SHARE = 0.75

# A forward pass and the decoding take at most half of the time of forward and backward.
EVALUATION_SHARE = 0.5

START_AND_EXPORT_SECONDS = 20.0  # of DeepSpeed, the rehearsal, and files of models as large as base

PROBED_PASSES = 4
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def seconds_since_start() -> float:
    """Returns how long this process has been running."""
    return time.time() - float(psutil.Process().create_time())


def deadline(max_minutes: float, *, reserved_seconds: float, seconds_before: float) -> float:
    """Returns the latest start of a step, on `time.monotonic`'s clock; infinity without a limit.

    Args:
        max_minutes: Of the whole run, from the start of its process; 0: no limit.
        reserved_seconds: Of these, for what comes after the last step.
        seconds_before: What earlier attempts of the run took.
    """
    if not max_minutes:
        return math.inf
    return time.monotonic() + max_minutes * 60 - reserved_seconds - seconds_before - seconds_since_start()


def fit_into(
    config: TrainConfig, recipe: Recipe, plan: RunPlan, valid: Index, recognizer: Recognizer, world: World
) -> tuple[Recipe, float]:
    """Returns a recipe with as many steps as fit into `--max_minutes`, and the seconds to reserve. A collective.

    Args:
        config: The settings of the run, with the size of a step and the cap of a pass.
        recipe: What suits the run without a limit.
        plan: The order of the training data.
        valid: All validation data, which are transcribed at the end.
        recognizer: The model.
        world: This process among the ranks.
    """
    speed = measure_speed(config, plan, recognizer, world)
    valid_seconds = int(valid.num_samples.sum()) / SAMPLE_RATE_HZ
    reserved_seconds = START_AND_EXPORT_SECONDS + 2 * EVALUATION_SHARE * valid_seconds / speed
    elapsed_seconds = max(distributed.gather_objects(seconds_since_start(), world))
    left_seconds = config.batching.max_minutes * 60 - elapsed_seconds - reserved_seconds
    audio_seconds = max(0.0, left_seconds) * speed * LOOP_SHARE
    steps = max(1, int(audio_seconds / config.batching.step_seconds))
    return replace(recipe, steps=min(recipe.steps, steps), step_seconds=config.batching.step_seconds), reserved_seconds


def measure_speed(config: TrainConfig, plan: RunPlan, recognizer: Recognizer, world: World) -> float:
    """Returns how many seconds of audio all ranks together train on in a second, by a few passes. A collective.

    The passes are of silence, as long and as many at once as those of the first step, whose gradients are dropped.
    """
    model = recognizer.model.to(world.device).train()
    if config.model.freeze_feature_encoder:
        freeze_feature_encoder(model)
    checkpoint_activations(model, config.memory.activation_checkpointing)
    seconds, audio_seconds = 0.0, 0.0
    with torch.random.fork_rng(), _computing_in(config.memory.precision, world):
        for number, batch in enumerate(_first_passes(config, plan, recognizer, world)):
            started = time.perf_counter()
            _run_pass(recognizer, batch, world.device)
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first one starts kernels and allocators
                seconds += time.perf_counter() - started
                audio_seconds += int(batch.num_samples.sum()) / SAMPLE_RATE_HZ
    model.zero_grad(set_to_none=True)
    slowest: float = min(distributed.gather_objects(audio_seconds / seconds, world))
    return slowest * world.world_size


def _computing_in(precision: Precision, world: World) -> contextlib.AbstractContextManager[object]:
    dtype = _AUTOCAST.get(precision)
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(world.device.type, dtype=dtype)


def _first_passes(config: TrainConfig, plan: RunPlan, recognizer: Recognizer, world: World) -> Iterator[Batch]:
    """Yields silence in the shapes of this rank's passes of the first step, and the first of them once before."""
    visit = plan_visit(plan, 0)
    cap_samples = int(config.memory.memory_cap_seconds * SAMPLE_RATE_HZ)
    ranks = cut_step(
        visit.plan.step(0),
        visit.computed_samples,
        memory_cap_samples=cap_samples,
        world_size=world.world_size,
        frames=visit.computed_frames,
    )
    passes = ranks[world.rank][:PROBED_PASSES]
    for utterances in (passes[0], *passes):
        num_samples = int(visit.computed_samples[utterances].max()) if len(utterances) else plan.longest_samples
        num_labels = labels_of_speech(num_samples, recognizer.geometry.num_frames(num_samples))
        yield silence(recognizer.vocabulary, max(1, len(utterances)), num_samples, num_labels=num_labels)


def _run_pass(recognizer: Recognizer, batch: Batch, device: torch.device) -> None:
    """Computes forward and backward."""
    on_device = batch.to(device)
    # Silence of one length: nothing is padded, as in most passes.
    logits = forward_logits(recognizer.model, recognizer, on_device.waveforms, on_device.num_samples, has_padding=False)
    num_frames = count_frames(recognizer.model, batch.num_samples)
    blank = recognizer.vocabulary.blank_id
    losses = ctc_losses(logits, num_frames, on_device.labels, batch.num_labels, blank=blank)
    torch.autograd.backward(losses.sum())
