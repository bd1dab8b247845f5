"""Forward and backward passes of training on a device that there is not, and what a whole step reads of it."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from helpers.models import VARIANTS, stock_model, untrained_recognizer
from helpers.stand_in import WITH_BACKWARD, OnDevice, StandIn, send, stand_in
from test_device import PASSES, batch_of

from asrscale.model.families import encoder_of
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.lora import add_lora
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser, prepare_pass
from asrscale.training.step import loss_sum

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Relative; in 16 bits about that of one rounding, as the stand-in takes some operations apart.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-10}
WAYS = ("all weights", "checkpointing", "low-rank adapters")

# What is computed in fp32 on purpose, as operations that make fp32 of 16 bits.
LOSS = ["_to_copy"]
GROUP_NORM = ["_to_copy", "mul.Tensor", "add.Tensor"]
GROUP_NORM_IN_PLACE = ["_to_copy"]  # where the stem is not trained
ITS_GRADIENT = ["_to_copy", "mul.Tensor"]


def cases() -> Iterator[Any]:
    """Every variant in each precision and way; of each variant one for every run of the tests."""
    for number, kind in enumerate(VARIANTS):
        chosen = DTYPES[number % 3], WAYS[(number + number // 3) % 3]
        for dtype, way in product(DTYPES, WAYS):
            yield pytest.param(kind, dtype, way, marks=[] if (dtype, way) == chosen else pytest.mark.slow)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with stand_in(monkeypatch, WITH_BACKWARD) as mode:
        yield mode


def trained(kind: str, dtype: torch.dtype, way: str) -> tuple[Recognizer, Regulariser]:
    """A model as a run trains it, with all that is random in it, on the host."""
    vocabulary = untrained_recognizer().vocabulary
    model = make_padding_invariant(stock_model(kind, apply_spec_augment=False, layerdrop=0.0)).train().to(dtype)
    if way == "low-rank adapters":
        torch.manual_seed(0)
        add_lora(model, 4)
    checkpoint_activations(model, int(way == "checkpointing"))
    regulariser = attach_regulariser(model, mask_time_prob=0.3, mask_feature_prob=0.3, layerdrop=0.5)
    return Recognizer(model, new_processor(vocabulary, model.config), vocabulary), regulariser


def loss_and_gradient(ours: Recognizer, regulariser: Regulariser) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a padded pass, both held by the CPU."""
    ours.model.zero_grad()
    batch = batch_of(PASSES["padded"])
    prepare_pass(regulariser, ours.model, batch, seed=0, step=0)
    loss = loss_sum(ours.model, ours, batch)
    loss.backward()
    gradients = [parameter.grad for parameter in ours.model.parameters() if parameter.grad is not None]
    assert all(gradient.device == ours.model.device for gradient in gradients)
    return held(loss.detach()), torch.cat([held(gradient).float().flatten() for gradient in gradients])


def held(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.held if isinstance(tensor, OnDevice) else tensor


@pytest.mark.parametrize(("kind", "dtype", "way"), list(cases()))
def test_forward_and_backward_read_nothing_of_the_device_and_upcast_what_they_should(
    kind: str, dtype: torch.dtype, way: str, device: StandIn
) -> None:
    ours, regulariser = trained(kind, dtype, way)
    expected_loss, expected = loss_and_gradient(ours, regulariser)
    send(ours.model, WITH_BACKWARD)
    device.waits.clear()
    loss, gradient = loss_and_gradient(ours, regulariser)
    assert loss.isfinite() and regulariser.dropped_layers
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=0)
    assert (gradient - expected).norm() <= tolerance * expected.norm() > 0

    has_group_norm = getattr(ours.model.config, "feat_extract_norm", "") == "group"
    forward = (GROUP_NORM_IN_PLACE if way == "low-rank adapters" else GROUP_NORM) * has_group_norm
    backward = {"checkpointing": forward + ITS_GRADIENT, "all weights": ITS_GRADIENT, "low-rank adapters": []}[way]
    upcasts = forward + LOSS + backward * has_group_norm
    assert device.reads == [] and device.waits == []
    assert device.upcasts == ([] if dtype == torch.float32 else upcasts)


def ask_of_gradient(logits: torch.Tensor) -> torch.Tensor:
    logits.register_hook(lambda gradient: gradient * float(gradient.isfinite().all()))
    return logits


# What is done to logits, and how many more reads and upcasts that makes; some are made of the gradient once more.
FAULTS: dict[str, tuple[Any, int, int]] = {
    "a value": (lambda logits: logits * float(logits.isfinite().all()), 1, 0),
    "a value in the backward pass": (ask_of_gradient, 1, 0),
    "rows that a mask chooses": (lambda logits: logits[logits[:, 0, 0] < math.inf], 2, 0),
    "a copy": (lambda logits: logits.cpu().to(logits.device), 2, 0),
    "fp32": (lambda logits: logits.float().to(logits.dtype), 0, 2),
    "fp32 of a factor": (lambda logits: (logits * torch.ones(1, 1, 1, device=logits.device)).to(logits.dtype), 0, 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_a_model_are_noticed(fault: str, device: StandIn) -> None:
    ours, regulariser = trained("data2vec", torch.bfloat16, "all weights")
    send(ours.model, WITH_BACKWARD)
    change, reads, upcasts = FAULTS[fault]
    ours.model.lm_head.register_forward_hook(lambda module, inputs, logits: change(logits))
    loss_and_gradient(ours, regulariser)
    assert len(device.reads) == reads and len(device.upcasts) == len(LOSS) + upcasts


def test_a_tensor_that_is_sent_or_was_left_on_the_host_is_noticed(device: StandIn) -> None:
    ours, regulariser = trained("data2vec", torch.bfloat16, "all weights")
    send(ours.model, WITH_BACKWARD)
    device.waits.clear()
    torch.ones(5).to(WITH_BACKWARD).copy_(torch.zeros(5))
    torch.ones(7).to(WITH_BACKWARD, non_blocking=True).copy_(torch.zeros(7), non_blocking=True)
    assert device.waits == [(5,), (5,)]
    encoder_of(ours.model).layers[1].register_forward_pre_hook(lambda module, inputs: (inputs[0] + torch.zeros(32),))
    with pytest.raises(AssertionError, match=r"add.Tensor: a tensor on the host, \[\(32,\)\]"):
        loss_and_gradient(ours, regulariser)
