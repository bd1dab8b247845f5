"""What a pass without a gradient holds, beside a real one on the CPU."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from helpers.models import ONE_OF_EACH, SMALL, stock_model, untrained_recognizer
from helpers.passes import CpuSemantics, padded_pass

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.inference import (
    CPU_CAP_SECONDS,
    MOST_SECONDS,
    PLANNED_SECONDS,
    cap_of_device,
    fitting_seconds,
    free_bytes_of,
    peak_bytes,
    run_inference,
)
from asrscale.memory.tape import Tape
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer

WIDE = dict(hidden_size=192, num_hidden_layers=2, num_attention_heads=4, intermediate_size=768, conv_dim=[96] * 7)


def recognizer_of(kind: str) -> Recognizer:
    """A model of a family, large enough that its activations are more than what libraries allocate."""
    model = make_padding_invariant(stock_model(kind, **WIDE)).eval()
    return Recognizer(model, untrained_recognizer().processor, untrained_recognizer().vocabulary)


@pytest.mark.parametrize("kind", [kind for kind in ONE_OF_EACH if kind != "bert"])
@pytest.mark.parametrize("utterances", [2, 5])
def test_a_pass_holds_what_is_predicted(kind: str, utterances: int) -> None:
    recognizer = recognizer_of(kind)
    predicted = peak_bytes(recognizer, utterances, 3.0, CpuSemantics())
    real = run_inference(recognizer, padded_pass(utterances, 3.0), Tape("cpu", {}), nullcontext())
    assert predicted == pytest.approx(real, rel=0.02)


def test_what_fits_grows_with_the_memory_and_keeps_to_it() -> None:
    recognizer = recognizer_of("wav2vec2")
    caps = [fitting_seconds(recognizer, gib * 2**30, CudaSemantics()) for gib in (0, 0.5, 1, 4, 400)]
    assert caps[0] == PLANNED_SECONDS and caps[-1] == MOST_SECONDS
    assert all(fewer <= more for fewer, more in itertools.pairwise(caps)) and len(set(caps)) > 2
    utterances = round(caps[2] / PLANNED_SECONDS)
    needed = peak_bytes(recognizer, utterances, PLANNED_SECONDS, CudaSemantics())
    one_more = peak_bytes(recognizer, utterances + 1, PLANNED_SECONDS, CudaSemantics())
    assert needed < 2**30 / 1.05 < one_more + 2**25


def test_a_cpu_takes_what_is_given_or_40_seconds() -> None:
    recognizer = untrained_recognizer()
    assert (cap_of_device(recognizer, 0.0), cap_of_device(recognizer, 12.5)) == (CPU_CAP_SECONDS, 12.5)


def test_what_torch_keeps_for_reuse_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_000, 16_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3_000)
    assert free_bytes_of(torch.device("cuda")) == 3_000


def test_the_model_itself_is_not_touched() -> None:
    recognizer = recognizer_of("hubert")
    before = {name: tensor.clone() for name, tensor in recognizer.model.state_dict().items()}
    fitting_seconds(recognizer, 2**30, CudaSemantics())
    after = recognizer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert SMALL["vocab_size"] == recognizer.model.config.vocab_size
