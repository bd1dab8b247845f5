"""Forward passes on a device that there is not: nothing is left on the host, nothing is read, nothing is upcast."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers.models import ONE_OF_EACH, noise, stock_model, untrained_recognizer
from helpers.stand_in import CUDA, OnDevice, StandIn, send, stand_in

from asrscale.data.batches import Batch
from asrscale.model.forward import count_frames, forward_logits, greedy_texts
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser, prepare_pass
from asrscale.training.step import loss_sum

PASSES = {"padded": (16_560, 16_800, 9_000), "equal frames": (16_560, 16_700, 16_650)}
# Attention is not among them: for such tensors torch decomposes it in fp32, unlike any kernel of CUDA.
PRODUCTS = ("mm", "addmm", "convolution")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with torch.no_grad(), stand_in(monkeypatch) as mode:
        yield mode


def batch_of(lengths: tuple[int, ...]) -> Batch:
    waveforms, num_samples = noise(*lengths)
    return Batch(np.arange(3), waveforms, num_samples, torch.ones(3, 4, dtype=torch.int64), torch.tensor([4, 3, 2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_pass_of_training_reads_nothing_of_the_device(kind: str, dtype: torch.dtype, device: StandIn) -> None:
    tiny = untrained_recognizer()
    model = make_padding_invariant(stock_model(kind, apply_spec_augment=False, layerdrop=0.0)).train().to(dtype)
    ours = Recognizer(model, new_processor(tiny.vocabulary, model.config), tiny.vocabulary)
    regulariser = attach_regulariser(model, mask_time_prob=0.3, mask_feature_prob=0.3, layerdrop=0.5)

    def losses() -> list[torch.Tensor]:
        found = []
        for lengths in PASSES.values():
            batch = batch_of(lengths)
            prepare_pass(regulariser, model, batch, seed=0, step=0)
            found.append(loss_sum(model, ours, batch))
        return found

    expected = losses()
    send(model)
    for found, on_host in zip(losses(), expected, strict=True):
        assert isinstance(found, OnDevice) and found.dtype == torch.float32
        torch.testing.assert_close(found.held, on_host, rtol=1e-5 if dtype == torch.float32 else 1e-3, atol=0)
    assert device.reads == []

    products = {name: dtypes for name, dtypes in device.dtypes.items() if name.startswith(PRODUCTS)}
    log_mel = {torch.float64} if kind == "bert" else set()  # its filters
    assert products and set().union(*products.values()) <= {dtype} | log_mel


def test_of_a_pass_that_is_transcribed_the_host_reads_the_paths_alone(device: StandIn) -> None:
    ours = untrained_recognizer()
    batch = batch_of(PASSES["padded"])
    num_frames = count_frames(ours.model, batch.num_samples)
    expected = greedy_texts(ours, forward_logits(ours.model, ours, batch.waveforms, batch.num_samples), num_frames)
    send(ours.model)
    there = batch.to(CUDA)
    logits = forward_logits(ours.model, ours, there.waveforms, there.num_samples)
    assert device.reads == []
    assert greedy_texts(ours, logits, num_frames) == expected
    assert device.reads == ["_to_copy"]


def test_the_stand_in_notices_what_it_is_for(device: StandIn) -> None:
    there, here = torch.ones(3).to(CUDA), torch.ones(3)
    with pytest.raises(AssertionError, match="a tensor on the host"):
        there + here
    for read in (lambda: bool(there.all()), lambda: there[0].item(), lambda: there.nonzero(), there.cpu):
        device.reads.clear()
        read()
        assert device.reads
