"""What the tests of the planner plan: model configurations, and choices made up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import Wav2Vec2Config

from asrscale.memory.choices import Choice
from asrscale.memory.deepspeed_states import States
from asrscale.memory.gpus import GPUS
from asrscale.memory.pass_cost import ForwardRows, LinearCost, PassCost
from helpers.models import FAMILIES

LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
ONE_BILLION = dict(hidden_size=1280, num_hidden_layers=48, num_attention_heads=16, intermediate_size=5120)
# What differs from wav2vec2-base, whose settings are the defaults of transformers.
ARCHITECTURES = {
    "base": {},
    "large-960h": LARGE,
    "XLS-R 300M": FAMILIES["layer"] | LARGE,
    "XLS-R 1B": FAMILIES["layer"] | ONE_BILLION,
}


def architecture_file(folder: Path, architecture: str) -> str:
    """Writes the config.json of an architecture into a folder; its path."""
    path = folder / f"{architecture.replace(' ', '-')}.json"
    Wav2Vec2Config(**ARCHITECTURES[architecture]).to_json_file(path)
    return str(path)


def cost_of(live_bytes: list[float], *, weights_bytes: float = 0, seconds: float = 1.0) -> PassCost:
    """Passes in which each utterance holds so much at each operation, and each operation moves a gigabyte for it.

    The second operation completes the logits, the third the loss.
    """
    nothing = np.zeros(len(live_bytes))
    return PassCost(
        seconds=seconds,
        weights_bytes=int(weights_bytes),
        live_bytes=LinearCost(base=nothing + weights_bytes, slope=np.array(live_bytes, np.float64)),
        flops=LinearCost(base=nothing, slope=nothing),
        moved_bytes=LinearCost(base=nothing, slope=nothing + 1e9),
        forward_rows=ForwardRows(logits=1, loss=2),
    )


def choice(
    *,
    every: int = 0,
    cap_seconds: float = 40,
    memory_gib: float = 14.6,
    step_seconds: float = 2.5,
    head_step_seconds: float = 1.0,
) -> Choice:
    """A way to run of made-up numbers, on a T4."""
    return Choice(
        gpu=replace(GPUS["t4-16"], memory_gib=memory_gib),
        gpus=2,
        config="ds_configs/zero2.json",
        activation_checkpointing=every,
        cap_seconds=cap_seconds,
        utterances={5.0: 8, 20.0: 2},
        pass_utterances=2,
        step_seconds=step_seconds,
        head_step_seconds=head_step_seconds,
        audio_seconds_per_second=1234.5,
        peak_bytes={"weights": 1.5 * 2**30, "activations": 2.25 * 2**30},
        host_bytes={"Python and its libraries": 0.75 * 2**30},
        states=States(weights=1, gradients=2, optimizer=3, buckets=4, backward_bytes=2**30, step_bytes=2**31),
        longest=cost_of([2.0**29, 2.0**30, 2.0**30, 2.0**28], seconds=20.0),
    )
