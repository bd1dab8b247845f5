"""The memory and time of a training pass as linear functions of its utterances.

Shapes: B utterances of a pass, T samples, F frames, L labels; N operations of a pass.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from asrscale.data.batches import LABELS_PER_SECOND, Batch
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.meta_operations import tensor_bytes
from asrscale.memory.tape import Row, Tape
from asrscale.model.dropout import draw_keys
from asrscale.model.families import CtcModel, stem_of
from asrscale.model.forward import count_encoder_frames, count_frames, ctc_losses, forward_logits
from asrscale.model.padding import SLICE_SAMPLES
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, most_frames
from asrscale.speech.pcm import SAMPLE_RATE_HZ

# Sizes of the two passes that are traced, in slices of a frozen stem. Only whole ones: what a pass costs is linear in
# its utterances, apart from a last slice that is not full.
FEW_SLICES = 2
MANY_SLICES = 3


@dataclass(frozen=True, eq=False)
class LinearCost:
    """A cost of each operation of a pass, linear in the utterances of the pass."""

    base: NDArray[np.float64]  # (N,) of no utterances
    slope: NDArray[np.float64]  # (N,) of each utterance

    def of(self, utterances: float) -> NDArray[np.float64]:
        """Returns the cost (N,) of each operation for so many utterances."""
        cost: NDArray[np.float64] = self.base + self.slope * utterances
        return cost


@dataclass(frozen=True)
class ForwardRows:
    """Numbers of the operations at which the forward pass ends."""

    logits: int  # the operation that completes the logits
    loss: int  # the last operation before the backward pass


@dataclass(frozen=True, eq=False)
class PassCost:
    """What passes of utterances of one length cost on one device: everything is linear in their number."""

    seconds: float  # length of each utterance
    weights_bytes: int  # of the model, in the precision it computes in
    live_bytes: LinearCost  # alive at each operation, weights included
    flops: LinearCost
    moved_bytes: LinearCost  # read and written by each operation
    forward_rows: ForwardRows

    def timeline_bytes(self, utterances: float) -> NDArray[np.float64]:
        """Returns what is alive above the weights at each operation (N,), with a gradient only where it is computed."""
        timeline: NDArray[np.float64] = self.live_bytes.of(utterances) - self.weights_bytes
        return timeline

    def max_utterances(self, budget_bytes: float) -> float:
        """Returns how many utterances fit a budget that does not hold the weights: a fraction, 0 where none does."""
        room_bytes = budget_bytes - self.timeline_bytes(0)
        slope = self.live_bytes.slope
        grows = slope > 0
        if (room_bytes[~grows] < 0).any():
            return 0.0
        fitting = (room_bytes[grows] / slope[grows]).min()
        return max(0.0, float(fitting))


def trace_pass(recognizer: Recognizer, seconds: float, regulariser: Regulariser, semantics: CudaSemantics) -> PassCost:
    """Returns what passes cost, from two of them on meta tensors.

    Args:
        recognizer: A model on the meta device, in training mode, frozen and checkpointed as it will be.
        seconds: The length of each utterance.
        regulariser: The one that is attached to the model.
        semantics: What the device's kernels keep for the backward pass and need meanwhile.
    """
    slice_utterances = max(1, SLICE_SAMPLES // int(seconds * SAMPLE_RATE_HZ))
    few = _trace(
        recognizer,
        utterances=FEW_SLICES * slice_utterances,
        seconds=seconds,
        regulariser=regulariser,
        semantics=semantics,
    )
    many = _trace(
        recognizer,
        utterances=MANY_SLICES * slice_utterances,
        seconds=seconds,
        regulariser=regulariser,
        semantics=semantics,
    )
    model = recognizer.model
    return PassCost(
        seconds=seconds,
        weights_bytes=tensor_bytes([*model.parameters(), *model.buffers()]),
        live_bytes=_line(few, many, lambda row: row.live_bytes),
        flops=_line(few, many, lambda row: row.flops),
        moved_bytes=_line(few, many, lambda row: row.moved_bytes),
        forward_rows=few.forward_rows,
    )


def run_pass(recognizer: Recognizer, batch: Batch, tape: Tape) -> ForwardRows:
    """Runs forward, loss and backward under a tape, as training does; each gradient is dropped when it is whole."""
    model = recognizer.model
    tape.hold([*model.parameters(), *model.buffers()])
    tape.hold([batch.waveforms, batch.num_samples, batch.labels, batch.num_labels])
    with _hooks(model, tape), tape:
        logits = forward_logits(model, recognizer, batch.waveforms, batch.num_samples)
        logits_row = len(tape.rows) - 1

        # Without names for what is computed on the way: a name would keep it alive.
        loss = ctc_losses(
            logits,
            count_frames(model, batch.num_samples),
            batch.labels,
            batch.num_labels,
            blank=0,
        ).sum()
        del logits
        gradient = torch.ones_like(loss)
        loss_row = len(tape.rows) - 1

        backward_in_modes(loss, gradient)
    return ForwardRows(logits=logits_row, loss=loss_row)


def backward_in_modes(loss: Tensor, gradient: Tensor) -> None:
    """Does what `loss.backward(gradient)` does, which would leave the mode that stands for CUDA."""
    torch.autograd.graph._engine_run_backward(
        (loss,),
        grad_tensors=(gradient,),
        keep_graph=False,
        create_graph=False,
        inputs=(),
        allow_unreachable=True,
        accumulate_grad=True,
    )


@dataclass(frozen=True)
class _Trace:
    """A pass that was run on meta tensors."""

    utterances: int
    rows: list[Row]
    forward_rows: ForwardRows


def _trace(
    recognizer: Recognizer,
    *,
    utterances: int,
    seconds: float,
    regulariser: Regulariser,
    semantics: CudaSemantics,
) -> _Trace:
    """Runs a pass on meta tensors; the arguments are those of `trace_pass`."""
    batch = meta_batch(utterances, int(seconds * SAMPLE_RATE_HZ))
    T = batch.waveforms.shape[1]
    F = int(count_encoder_frames(recognizer.model, torch.tensor(T)))
    most = most_frames(recognizer.model, T)
    regulariser.time_mask = torch.empty(utterances, F, dtype=torch.bool, device="meta")
    dropout = regulariser.dropout
    draw_keys(dropout, batch.utterances, most, torch.device("meta"), seed=0, step=0)
    tape = Tape("meta", semantics.scratch)
    tape.hold([dropout.frame_keys, dropout.feature_keys])
    with undisturbed(), semantics:
        forward_rows = run_pass(recognizer, batch, tape)
    return _Trace(utterances=utterances, rows=tape.rows, forward_rows=forward_rows)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Lets nothing but the pass inside run operations, and those be torch's own."""
    with _no_garbage_collection(), _stock_linear():
        yield


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keeps the collector from ending an engine in the middle of a pass, whose finalisers would run operations too."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _stock_linear() -> Iterator[None]:
    """Undoes what ZeRO-3 leaves in a process that has used it: a linear layer of its own, with other operations."""
    found = functional.linear
    functional.linear = torch._C._nn.linear
    try:
        yield
    finally:
        functional.linear = found


def _line(few: _Trace, many: _Trace, cost_of: Callable[[Row], float]) -> LinearCost:
    """Returns the line through a cost of two passes, for each of their operations."""
    few_costs = np.array([cost_of(row) for row in few.rows], np.float64)
    many_costs = np.array([cost_of(row) for row in many.rows], np.float64)
    slope = (many_costs - few_costs) / (many.utterances - few.utterances)
    return LinearCost(base=few_costs - few.utterances * slope, slope=slope)


def meta_batch(utterances: int, T: int) -> Batch:
    """Returns a batch without content, of utterances of one length with as many labels as fast speech has."""
    L = max(1, T * LABELS_PER_SECOND // SAMPLE_RATE_HZ)
    labels = torch.empty(utterances, L, dtype=torch.int64, device="meta")
    lengths = labels[:, 0]  # a view: two numbers an utterance are not worth storages of their own
    return Batch(
        utterances=np.arange(utterances),
        waveforms=torch.empty(utterances, T, dtype=torch.int16, device="meta"),
        num_samples=lengths,
        labels=labels,
        num_labels=lengths,
    )


@contextmanager
def _hooks(model: CtcModel, tape: Tape) -> Iterator[None]:
    """Drops each gradient when it is whole, and makes a stem that runs in slices one row of a tape."""
    parameters = list(model.parameters())
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(_drop_gradient) for parameter in learned]
    stem = stem_of(model)
    if stem is not None and len(learned) < len(parameters):  # a frozen stem runs in slices
        hooks.append(stem.register_forward_pre_hook(lambda *_: tape.begin_fold()))
        hooks.append(stem.register_forward_hook(lambda *_: tape.end_fold()))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None
