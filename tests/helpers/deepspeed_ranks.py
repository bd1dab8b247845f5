"""Steps of real DeepSpeed ranks beside what the planner predicts of them: for its benchmarks and the check on GPUs."""

from typing import Any

from asrscale.common.distributed import World
from asrscale.data.batches import Batch
from asrscale.memory.deepspeed_states import deepspeed_states
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.training import engine as ds


def run_backward(engine: ds.Engine, real: Recognizer, batch: Batch, world: World) -> float:
    """Forward, loss and backward of a pass; its mean loss."""
    logits = forward_logits(engine, real, batch.waveforms, batch.num_samples)
    num_frames = count_frames(real.model, batch.num_samples)
    loss = ctc_losses(logits, num_frames, batch.labels, batch.num_labels, 0).mean()
    ds.backward(engine, loss / world.world_size, world)
    return float(loss.detach())


def predicted_bytes(config: dict[str, Any], sketch: Recognizer, activations_bytes: float, world: World) -> float:
    """The peak of a DeepSpeed rank's tensors."""
    states = deepspeed_states(config["zero_optimization"], sketch.model, world.world_size)
    return sum(states.resident.values()) + max(states.step_bytes, states.backward_bytes + activations_bytes)
