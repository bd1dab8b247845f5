"""Steps of training, as a run takes them and in plain torch."""

from pathlib import Path
from typing import Any

import torch

from asrscale.common.distributed import World
from asrscale.data.batches import Batch
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.training import ds_config
from asrscale.training import engine as ds
from asrscale.training.optimizer import build_optimizer, set_learning_rates
from asrscale.training.schedule import LearningRates
from gpu.machine import DEVICE

RATE = 1e-4
WEIGHT_DECAY, BETA2, MAX_NORM = 0.01, 0.98, 1.0
CONFIGS = Path(__file__).parents[2] / "ds_configs"


def config_of(name: str, precision: str, device: torch.device = DEVICE) -> dict[str, Any]:
    """The resolved DeepSpeed configuration of a name in ds_configs."""
    return ds_config.resolve_ds_config(
        ds_config.read_ds_config(str(CONFIGS / f"{name}.json")),
        precision=precision,  # type: ignore[arg-type]
        max_gradient_norm=MAX_NORM,
        device=device,
    )


def make_engine(recognizer: Recognizer, config: dict[str, Any], device: torch.device = DEVICE) -> ds.Engine:
    """DeepSpeed's engine around a model."""
    model = recognizer.model.float().to(device)
    return ds.initialize(model, config, weight_decay=WEIGHT_DECAY, adam_beta2=BETA2)


def mean_loss(
    model: torch.nn.Module, recognizer: Recognizer, batch: Batch, *, has_padding: bool = True
) -> torch.Tensor:
    """The mean loss of a pass."""
    logits = forward_logits(model, recognizer, batch.waveforms, batch.num_samples, has_padding=has_padding)
    num_frames = count_frames(recognizer.model, batch.num_samples)
    return ctc_losses(logits, num_frames, batch.labels, batch.num_labels, recognizer.vocabulary.blank_id).mean()


def take_step(engine: ds.Engine, recognizer: Recognizer, batch: Batch, world: World) -> torch.Tensor:
    """A step of one pass; its loss, which the host has not read."""
    loss = mean_loss(engine, recognizer, batch)
    ds.backward(engine, loss / world.world_size, world)
    ds.take_step(engine, LearningRates(RATE, RATE))
    return loss.detach()


def plain_losses(recognizer: Recognizer, batch: Batch, steps: int, device: torch.device) -> list[float]:
    """The losses of so many steps on one batch in plain torch and fp32."""
    model = recognizer.model.float().to(device)
    batch = batch.to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(model, weight_decay=WEIGHT_DECAY, adam_beta2=BETA2)
    set_learning_rates(optimizer.param_groups, LearningRates(RATE, RATE))
    losses = []
    for _ in range(steps):
        loss = mean_loss(model, recognizer, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses
