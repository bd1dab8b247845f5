import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from bench.bench_memory import NORMS, SHORT_SLICE_SAMPLES, SMALL, CpuSemantics, measure_pass, recognizers

from asrscale.memory import pass_cost
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpus import GPUS
from asrscale.memory.pass_cost import trace_pass
from asrscale.memory.tape import Tape
from asrscale.memory.timing import operation_seconds
from asrscale.model import padding
from asrscale.model.forward import count_frames
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.regularisation import attach_regulariser

CASES = list(itertools.product(NORMS, ("eager", "sdpa"), (False, True), (False, True)))


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_cost, "SLICE_SAMPLES", SHORT_SLICE_SAMPLES)
    monkeypatch.setattr(padding, "SLICE_SAMPLES", SHORT_SLICE_SAMPLES)


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """Of a process that has run other tests, a real pass was found to hold 91 kB less, whatever its size."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def traced_and_real(norm: str, attention: str, checkpointed: bool, frozen: bool) -> tuple[list[float], list[float]]:
    """Bytes after the forward pass, and at the peak, of the trace and of a real pass."""
    pass_cost.SLICE_SAMPLES = padding.SLICE_SAMPLES = SHORT_SLICE_SAMPLES
    settings = SMALL | NORMS[norm] | {"num_hidden_layers": 2}
    real, sketch = recognizers(settings, attention, torch.float32)
    ours, traced = (
        attach_regulariser(one.model, mask_time_prob=0.05, mask_feature_prob=0.0, layerdrop=0.0)
        for one in (real, sketch)
    )
    for recognizer in (real, sketch):
        if frozen:
            freeze_feature_encoder(recognizer.model)
        if checkpointed:
            checkpoint_activations(recognizer.model)
    utterances, seconds = 3, 1.5
    ours.time_mask = torch.zeros(utterances, int(count_frames(real.model, torch.tensor(24_000))), dtype=torch.bool)
    cost = trace_pass(sketch, seconds, traced, CpuSemantics())
    tape, _, _ = measure_pass(real, utterances, seconds)
    timeline = cost.timeline_bytes(utterances)
    # A real pass has more operations: it looks whether anything is padded.
    found = [tape.rows[tape.forward_rows[1] - 1][0], max(live for live, _, _ in tape.rows)]
    predicted = [float(timeline[cost.forward_rows[1] - 1]), float(timeline.max())]
    return predicted, [live - cost.weights_bytes for live in found]


@pytest.mark.parametrize(("norm", "attention", "checkpointed", "frozen"), CASES)
def test_the_trace_of_a_pass_is_what_a_real_pass_holds(
    norm: str, attention: str, checkpointed: bool, frozen: bool, fresh_process: ProcessPoolExecutor
) -> None:
    """On a CPU, within 0.1 %: what the forward pass saves, and the peak."""
    traced, real = fresh_process.submit(traced_and_real, norm, attention, checkpointed, frozen).result()
    assert traced == pytest.approx(real, rel=0.001)


def test_two_batch_sizes_tell_all_others_and_the_budget_is_used_to_the_last_utterance() -> None:
    _, sketch = recognizers(SMALL | NORMS["layer"], "sdpa", torch.bfloat16, real=False)
    regulariser = attach_regulariser(sketch.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    cost = trace_pass(sketch, 3.0, regulariser, CudaSemantics())
    peak = float(cost.timeline_bytes(17).max())
    assert cost.max_utterances(peak) == pytest.approx(17)
    assert cost.max_utterances(peak - 1) < 17 < cost.max_utterances(peak + 1)
    assert cost.max_utterances(1.0) == 0
    few, many = (operation_seconds(cost, utterances, GPUS["rtx3050-6"]).sum() for utterances in (170, 340))
    assert many > 1.9 * few


def test_checkpointing_and_a_frozen_stem_save_memory_and_checkpointing_costs_time() -> None:
    peaks, times = [], []
    for frozen, checkpointed in ((False, 0), (True, 0), (True, 2), (True, 1)):
        _, sketch = recognizers(SMALL | NORMS["layer"], "sdpa", torch.bfloat16, real=False)
        regulariser = attach_regulariser(sketch.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
        if frozen:
            freeze_feature_encoder(sketch.model)
        if checkpointed:
            checkpoint_activations(sketch.model, checkpointed)
        cost = trace_pass(sketch, 5.0, regulariser, CudaSemantics())
        peaks.append(float(cost.timeline_bytes(40).max()))
        times.append(operation_seconds(cost, 40, GPUS["rtx3050-6"]).sum())
    assert peaks[0] > 1.5 * peaks[1] and peaks[1] > 1.2 * peaks[2] > 1.44 * peaks[3]
    assert times[0] > times[1] < times[2] < times[3]


def test_cuda_keeps_a_byte_of_dropout_where_a_cpu_keeps_four() -> None:
    _, sketch = recognizers(SMALL | NORMS["layer"] | {"hidden_dropout": 0.1}, "sdpa", torch.float32, real=False)
    regulariser = attach_regulariser(sketch.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    freeze_feature_encoder(sketch.model)
    cuda, cpu = (trace_pass(sketch, 3.0, regulariser, kernels) for kernels in (CudaSemantics(), CpuSemantics()))
    saved = [cost.timeline_bytes(8)[cost.forward_rows[1] - 1] for cost in (cuda, cpu)]
    assert saved[0] < 0.9 * saved[1]


def test_a_tape_counts_storages_once_and_forgets_them_when_they_die() -> None:
    tape = Tape("cpu", {})
    with tape:
        x = torch.zeros(1000)
        view = x[10:]
        assert tape.live_bytes == 4000
        del x
        assert tape.live_bytes == 4000
        y = view + 1
        assert tape.live_bytes == 4000 + 3960
        del view, y
    assert tape.live_bytes == 0
