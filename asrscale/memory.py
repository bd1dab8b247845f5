"""Device memory and time of a training pass, known before it is run and without a GPU.

The real model code runs on torch's `meta` device, where tensors have shapes but no content, while a dispatch mode
counts the storages that are alive. Everything at any moment t of a pass is linear in its utterances, A_t + C_t·B, so
two batch sizes give the peak of all. docs/memory.md says what is traced, what is a constant, and how exact it is.

Shapes: B utterances of a pass, T samples, F frames, L labels, V vocabulary.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.loader import LABELS_PER_SECOND
from asrscale.model import SLICE_SAMPLES, Recognizer, count_frames, ctc_losses, forward_logits
from asrscale.regularise import Regulariser

Scratch: TypeAlias = dict[Any, Callable[[Any, Any], int]]  # bytes of an operation's arguments and result

aten = torch.ops.aten


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down, after every operation, the bytes of all storages alive on a device that it has seen.

    Attributes:
        live_bytes: Now.
        forward_rows: How many rows there were when the logits were known, and when the loss was.
        rows: For each operation the live bytes (with what its kernel needs meanwhile), FLOPs and bytes moved.
    """

    def __init__(self, device_type: str, scratch: Scratch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.forward_rows: list[int] = []
        self.rows: list[tuple[float, float, float]] = []
        self._device_type, self._scratch = device_type, scratch
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._known: dict[Any, Any] = {}
        self._folded = False

    def hold(self, value: Any) -> None:
        """Counts the storages of tensors that were made before, or came out of an operation."""
        for tensor in (one for one in _tensors(value) if one.device.type == self._device_type):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if size and key not in self._seen:
                self._seen[key] = weakref.ref(storage, partial(self._release, key, size))
                self.live_bytes += size

    def _release(self, key: int, size: int, _: object) -> None:
        del self._seen[key]
        self.live_bytes -= size

    def fold(self, on: bool) -> None:
        """Begins or ends one row for many operations, whose number depends on the batch size."""
        self.rows += [(0.0, 0.0, 0.0)] if on else []
        self._folded = on

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, flops, moved_bytes, scratch_bytes = self._run(func, args, kwargs or {})
        self.hold(result)
        live_bytes = float(self.live_bytes + scratch_bytes)
        if self._folded:
            before = self.rows.pop()
            live_bytes, flops, moved_bytes = max(before[0], live_bytes), before[1] + flops, before[2] + moved_bytes
        self.rows.append((live_bytes, flops, moved_bytes))
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, float, float, int]:
        """The result of an operation, its FLOPs, bytes read and written, and bytes that its kernel needs meanwhile."""
        if self._device_type != "meta":
            return func(*args, **kwargs), 0.0, 0.0, 0
        if func._schema.is_mutable or any(returned.alias_info for returned in func._schema.returns):
            return func(*args, **kwargs), 0.0, _bytes((args, kwargs)) * func._schema.is_mutable, 0
        key = func, *map(_signature, tree_leaves((args, kwargs)))
        if key not in self._known:  # layers are alike, and meta kernels are slow: they are written in Python
            result = _KERNELS.get(func, func)(*args, **kwargs)
            count = flop_registry.get(func._overloadpacket)
            flops = float(count(*args, **kwargs, out_val=result)) if count else 0.0
            scratch_bytes = self._scratch[func](args, result) if func in self._scratch else 0
            self._known[key] = tree_map(_maker, result), flops, _bytes((args, kwargs, result)), scratch_bytes
        makers, *costs = self._known[key]
        return tree_map(lambda make: make(), makers), *costs


def _signature(value: Any) -> Any:
    """What of an argument decides the shapes that come out."""
    return (value.dtype, value.shape, value.stride()) if isinstance(value, Tensor) else (type(value), value)


def _maker(value: Any) -> Callable[[], Any]:
    """Makes new meta tensors like one, or hands out what is none."""
    if isinstance(value, Tensor):
        return partial(torch.empty_strided, value.shape, value.stride(), dtype=value.dtype, device="meta")
    return lambda: value


def _tensors(value: Any) -> list[Tensor]:
    return [one for one in tree_leaves(value) if isinstance(one, Tensor)]


def _bytes(value: Any) -> int:
    return sum(x.numel() * x.element_size() for x in _tensors(value))


# What CUDA's kernels allocate and free inside: not visible as tensors. Sources in docs/memory.md.


def _attention_scratch(args: Any, _: Any) -> int:
    """fp32 accumulator of the query's gradient, and a number a row (CUTLASS's memory-efficient attention)."""
    B, H, F, D = args[1].shape
    return int(4 * B * H * F * (1 if args[1].dtype == torch.float32 else D + 1))


def _convolution_scratch(args: Any, result: Any) -> int:
    """16-bit kernels of cuDNN work channels-last: inputs and outputs are transposed through the workspace."""
    return _bytes([x for x in _tensors((args[:2], result)) if x.ndim == 3]) if args[0].element_size() == 2 else 0


def _layer_norm_scratch(args: Any, _: Any) -> int:
    """A contiguous copy of an input that is not: the transposed activations of the convolutional stem."""
    return _bytes([x for x in _tensors(args[:2]) if not x.is_contiguous()])


_SCRATCH: Scratch = {
    aten._scaled_dot_product_efficient_attention_backward.default: _attention_scratch,
    aten.convolution.default: lambda args, result: _convolution_scratch((args[0],), result),
    aten.convolution_backward.default: _convolution_scratch,
    aten.native_layer_norm.default: _layer_norm_scratch,
    aten.native_layer_norm_backward.default: _layer_norm_scratch,
    # log_beta, as large as the log_alpha that the forward pass keeps
    aten._ctc_loss_backward.Tensor: lambda args, _: _bytes(args[6]),
}


def _ctc_loss(log_probs: Tensor, labels: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """The native kernel's losses (B,) and log_alpha (B, F, 2L + 1)."""
    F, B, _V = log_probs.shape
    return log_probs.new_empty(B), log_probs.new_empty(B, F, 2 * labels.shape[1] + 1)


# Kernels that torch has for CPU and CUDA but not for meta.
_KERNELS: dict[Any, Callable[..., Any]] = {
    aten._ctc_loss.Tensor: _ctc_loss,
    aten._ctc_loss_backward.Tensor: lambda gradient, log_probs, *_, **__: torch.empty_like(log_probs),
}


class CudaSemantics(TorchFunctionMode):
    """Makes meta tensors take the paths of CUDA, which keep other things for the backward pass."""

    scratch = _SCRATCH

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.all:  # is nothing padded? a pass nearly always has padding, and the mask costs more
            return False
        return _AS_CUDA.get(func, func)(*args, **(kwargs or {}))


def _cuda_dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """CUDA keeps a mask of one byte an element; elsewhere the noise is kept in full precision."""
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _cuda_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """With a mask, torch takes the memory-efficient kernel and turns the mask into numbers, padded to 16, each time."""
    if attn_mask is not None:
        F = attn_mask.shape[-1]
        bias = functional.pad(attn_mask.to(query.dtype), (0, -F % 16))[..., :F]
        attn_mask = bias.expand(*query.shape[:2], -1, -1)
    attend = aten._scaled_dot_product_efficient_attention
    attended: Tensor = attend(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
    return attended


_AS_CUDA = {functional.dropout: _cuda_dropout, functional.scaled_dot_product_attention: _cuda_attention}


@dataclass(frozen=True, eq=False)
class PassCost:
    """What passes of one length cost on one device: everything is linear in their utterances B."""

    seconds: float  # length of each utterance
    weights_bytes: int  # of the model, in the precision it computes in
    base: NDArray[np.float64]  # (N, 3) live bytes, FLOPs and bytes moved of each operation, for B = 0
    slope: NDArray[np.float64]  # (N, 3) the same for each utterance
    forward_rows: tuple[int, int]  # operations before the loss, and with it

    def timeline_bytes(self, utterances: float) -> NDArray[np.float64]:
        """(N,) what is alive above the weights; a gradient is there only in the moment it is computed in."""
        timeline: NDArray[np.float64] = self.base[:, 0] + self.slope[:, 0] * utterances - self.weights_bytes
        return timeline

    def max_utterances(self, budget_bytes: float) -> float:
        """How many fit a budget that the weights are not part of; a fraction, 0 where none does."""
        room, slope = budget_bytes - self.timeline_bytes(0), self.slope[:, 0]
        grows = slope > 0
        return max(0.0, float((room[grows] / slope[grows]).min())) if (room[~grows] >= 0).all() else 0.0


def trace_pass(recognizer: Recognizer, seconds: float, regulariser: Regulariser, semantics: CudaSemantics) -> PassCost:
    """Runs passes of two sizes on meta tensors, of utterances of so many seconds.

    `recognizer` is of `model.sketch_recognizer`, in training mode, frozen and checkpointed as it will be; `regulariser`
    is attached to it; `semantics` knows what the device's kernels keep for the backward pass and need meanwhile.
    """
    model, samples = recognizer.model, int(seconds * SAMPLE_RATE_HZ)
    frames, size = int(count_frames(model, torch.tensor(samples))), max(1, SLICE_SAMPLES // samples)
    tapes = []
    for B in (2 * size, 3 * size):  # whole slices of a frozen stem
        waveforms = torch.empty(B, samples, dtype=torch.int16, device="meta")
        labels = torch.empty(B, max(1, int(seconds * LABELS_PER_SECOND)), dtype=torch.int64, device="meta")
        regulariser.time_mask = torch.empty(B, frames, dtype=torch.bool, device="meta")
        tapes.append(Tape("meta", semantics.scratch))
        with semantics:
            run_pass(recognizer, waveforms, labels[:, 0], labels, labels[:, 0], tapes[-1])
    few, many = (np.array(tape.rows) for tape in tapes)
    slope = (many - few) / size
    weights_bytes = _bytes([*model.parameters(), *model.buffers()])
    before, after = tapes[0].forward_rows
    return PassCost(seconds, weights_bytes, few - 2 * size * slope, slope, (before, after))


def run_pass(
    recognizer: Recognizer, waveforms: Tensor, num_samples: Tensor, labels: Tensor, num_labels: Tensor, tape: Tape
) -> None:
    """Forward, loss and backward under a tape, as `fit` runs a pass; each gradient is dropped when it is whole."""
    model = recognizer.model
    encoder, learned = model.wav2vec2.feature_extractor, [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in learned]
    if len(learned) < len(list(model.parameters())):  # a frozen stem runs in slices
        hooks += [encoder.register_forward_pre_hook(lambda *_: tape.fold(True))]
        hooks += [encoder.register_forward_hook(lambda *_: tape.fold(False))]
    tape.hold([*model.parameters(), *model.buffers(), waveforms, num_samples, labels, num_labels])
    with tape:
        logits = forward_logits(model, recognizer, waveforms, num_samples)
        tape.forward_rows = [len(tape.rows)]
        loss = ctc_losses(logits, count_frames(model, num_samples), labels, num_labels, 0).sum()
        del logits
        # loss.backward() would leave the mode that stands for CUDA.
        start = (loss,), (torch.ones_like(loss),), False, False, ()
        tape.forward_rows += [len(tape.rows)]
        torch.autograd.graph._engine_run_backward(*start, allow_unreachable=True, accumulate_grad=True)
    for hook in hooks:
        hook.remove()
