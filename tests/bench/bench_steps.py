"""What a training step takes where layers are dropped, and where only the head is trained: `make bench`.

Steps of one rank at ZeRO-2 on one thread, side by side in turn. Dropped layers are computed in vain, and skipped; a
step of the head stands beside one of all weights, which it was before.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.contexts import zero_config

from asrscale.common.distributed import World
from asrscale.data.batches import Batch
from asrscale.model import layerdrop, regularisation
from asrscale.model.architectures import DROPOUT_SETTINGS, TINY
from asrscale.model.building import build_recognizer
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder, held_below_head
from asrscale.model.regularisation import attach_regulariser, prepare_pass
from asrscale.training import engine as ds
from asrscale.training.schedule import LearningRates

STEPS = 60
LENGTHS_SECONDS = [4.0] * 5  # of the utterances of a step

# Settings of a model, and of how many layers the activations are recomputed.
TWELVE = TINY | {"num_hidden_layers": 12, "hidden_size": 128, "intermediate_size": 512}
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "tiny, 2 layers": (TINY, 0),
    "12 layers": (TWELVE, 0),
    "12 layers, recomputed": (TWELVE, 1),
}


def skip_after_computing(_layer: Any, compute: Any, hidden: Any, settings: Any) -> Any:
    """What stood in the place of `skip_layer` before."""
    return layerdrop._computed_in_vain(compute, hidden, settings)


def batch() -> Batch:
    num_samples = torch.tensor([int(seconds * 16_000) for seconds in LENGTHS_SECONDS])
    waveforms = torch.randint(-3000, 3000, (len(num_samples), int(num_samples.max())), dtype=torch.int16)
    labels = torch.randint(5, 30, (len(num_samples), 40))
    return Batch(np.arange(len(num_samples)), waveforms, num_samples, labels, torch.full((len(num_samples),), 40))


def steps(
    folder: Path, every: int, rate: float, world: World, head_only: bool = False
) -> Iterator[tuple[float, float]]:
    """Takes steps; yields the loss of each, and the seconds of the processor."""
    recognizer = build_recognizer(str(folder), "")
    model = recognizer.model.train()
    freeze_feature_encoder(model)
    checkpoint_activations(model, every)
    regulariser = attach_regulariser(model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=rate)
    engine = ds.initialize(model, zero_config(stage=2), weight_decay=0.01, adam_beta2=0.98)
    torch.manual_seed(1)
    own = batch()
    for number in range(STEPS):
        started = time.process_time()
        prepare_pass(regulariser, model, own, seed=1, step=number)
        with held_below_head(model) if head_only and number else nullcontext():
            logits = forward_logits(engine, recognizer, own.waveforms, own.num_samples)
        losses = ctc_losses(logits, count_frames(model, own.num_samples), own.labels, own.num_labels, 0)
        ds.backward(engine, losses.mean(), world)
        ds.take_step(engine, LearningRates(1e-4, None if head_only and number else 1e-4))
        yield float(losses.mean().detach()), time.process_time() - started
    engine.destroy()


def main(world: World) -> None:
    for name, (settings, every) in MODELS.items():
        with TemporaryDirectory() as folder:
            torch.manual_seed(0)
            config = Wav2Vec2Config(**settings | dict.fromkeys(DROPOUT_SETTINGS, 0.1))
            Wav2Vec2ForCTC(config).wav2vec2.save_pretrained(folder)
            for rate in (0.1, 0.2):
                print(f"{name}, LayerDrop {rate}: {_compared(Path(folder), every, rate, world)}", flush=True)
            print(f"{name}, head only: {_head_beside_all(Path(folder), every, world)}", flush=True)


def _compared(folder: Path, every: int, rate: float, world: World) -> str:
    """What steps take in both ways, in words."""
    before, now = steps(folder, every, rate, world), steps(folder, every, rate, world)
    seconds: list[tuple[float, float]] = []
    for _ in range(STEPS):
        with patch.object(regularisation, "skip_layer", skip_after_computing):
            loss, before_seconds = next(before)
        same_loss, now_seconds = next(now)
        assert loss == same_loss
        seconds.append((before_seconds, now_seconds))
    return f"{_less(seconds)}; equal losses"


def _head_beside_all(folder: Path, every: int, world: World) -> str:
    """What steps of all weights take, and of the head, in words."""
    of_all, of_head = steps(folder, every, 0.0, world), steps(folder, every, 0.0, world, head_only=True)
    return _less([(seconds, head_seconds) for (_, seconds), (_, head_seconds) in zip(of_all, of_head, strict=True)])


def _less(seconds: list[tuple[float, float]]) -> str:
    """The seconds of steps in both ways, in words."""
    first, second = np.array(seconds[5:]).mean(0)
    return f"{first:.3f} s of the processor a step, then {second:.3f} s: {1 - second / first:.1%} less"


if __name__ == "__main__":
    torch.set_num_threads(1)
    with ds.joined_ranks() as world:
        main(world)
    os._exit(0)  # as `cli.run` ends a process, and for the same reason
