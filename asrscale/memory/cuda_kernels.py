"""What CUDA's kernels keep and need that meta tensors do not show. Sources in docs/memory.md."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from asrscale.memory.tape import Scratch, aten, tensor_bytes, tensors_in

# What CUDA's kernels allocate and free inside: not visible as tensors. Sources in docs/memory.md.


def _attention_scratch(args: Any, _: Any) -> int:
    """fp32 accumulator of the query's gradient, and a number a row (CUTLASS's memory-efficient attention)."""
    B, H, F, D = args[1].shape
    return int(4 * B * H * F * (1 if args[1].dtype == torch.float32 else D + 1))


def _convolution_scratch(args: Any, result: Any) -> int:
    """16-bit kernels of cuDNN work channels-last: inputs and outputs are transposed through the workspace."""
    return (
        tensor_bytes([x for x in tensors_in((args[:2], result)) if x.ndim == 3]) if args[0].element_size() == 2 else 0
    )


def _layer_norm_scratch(args: Any, _: Any) -> int:
    """A contiguous copy of an input that is not: the transposed activations of the convolutional stem."""
    return tensor_bytes([x for x in tensors_in(args[:2]) if not x.is_contiguous()])


_SCRATCH: Scratch = {
    aten._scaled_dot_product_efficient_attention_backward.default: _attention_scratch,
    aten.convolution.default: lambda args, result: _convolution_scratch((args[0],), result),
    aten.convolution_backward.default: _convolution_scratch,
    aten.native_layer_norm.default: _layer_norm_scratch,
    aten.native_layer_norm_backward.default: _layer_norm_scratch,
    # log_beta, as large as the log_alpha that the forward pass keeps
    aten._ctc_loss_backward.Tensor: lambda args, _: tensor_bytes(args[6]),
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
