"""What CUDA's kernels keep and need that meta tensors do not show. Sources in docs/memory-model.md.

Shapes: B utterances of a pass, H attention heads, F frames, D features of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from asrscale.memory.meta_operations import Scratch, aten, tensor_bytes, tensors_in

# The memory-efficient kernel reads rows of an attention bias that begin at multiples of so many elements.
BIAS_ALIGNMENT = 16


# What CUDA's kernels allocate inside and free again, which no tensor shows: of an operation's arguments and result.


def _attention_scratch(args: Any, _result: Any) -> int:
    """Returns the bytes that the backward pass of CUTLASS's memory-efficient attention needs.

    They are a number a row, and in 16 bits an accumulator of the query's gradient (B, H, F, D) in fp32.
    """
    query = args[1]
    B, H, F, D = query.shape
    numbers_a_row = 1 if query.dtype == torch.float32 else D + 1
    return int(torch.float32.itemsize * B * H * F * numbers_a_row)


def _convolution_scratch(args: Any, result: Any) -> int:
    """Returns the bytes that transpose a convolution's input and output."""
    convolved = args[0]
    return _transposed_bytes([convolved, result])


def _convolution_backward_scratch(args: Any, result: Any) -> int:
    """Returns the bytes that transpose a convolution's input and all gradients."""
    output_gradient = args[0]
    convolved = args[1]
    return _transposed_bytes([output_gradient, convolved, result])


def _transposed_bytes(value: Any) -> int:
    """Returns the bytes that transpose the tensors (…, channels, time) of a one-dimensional convolution.

    cuDNN's 16-bit kernels work channels-last: inputs and outputs are transposed through the workspace. Those of fp32
    are not.
    """
    tensors = [tensor for tensor in tensors_in(value) if tensor.ndim == 3]
    if any(tensor.element_size() != 2 for tensor in tensors):
        return 0
    return tensor_bytes(tensors)


def _layer_norm_scratch(args: Any, _result: Any) -> int:
    """Returns the bytes of a contiguous copy of inputs that are not: transposed activations of the stem."""
    return tensor_bytes([tensor for tensor in tensors_in(args[:2]) if not tensor.is_contiguous()])


def _ctc_scratch(args: Any, _result: Any) -> int:
    """Returns the bytes of log_beta, which is as large as the log_alpha that the forward pass keeps."""
    log_alpha = args[6]
    return tensor_bytes(log_alpha)


_SCRATCH: Scratch = {
    aten._scaled_dot_product_efficient_attention_backward.default: _attention_scratch,
    aten.convolution.default: _convolution_scratch,
    aten.convolution_backward.default: _convolution_backward_scratch,
    aten.native_layer_norm.default: _layer_norm_scratch,
    aten.native_layer_norm_backward.default: _layer_norm_scratch,
    aten._ctc_loss_backward.Tensor: _ctc_scratch,
}


def _cuda_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Attention as on CUDA; the arguments are those of torch's function.

    With a mask, torch takes the memory-efficient kernel, and makes of the mask each time numbers whose rows are padded.
    """
    bias = None
    if attn_mask is not None:
        F = attn_mask.shape[-1]
        padded = functional.pad(attn_mask.to(query.dtype), (0, -F % BIAS_ALIGNMENT))
        B, H = query.shape[:2]
        bias = padded[..., :F].expand(B, H, -1, -1)
    attended: Tensor = aten._scaled_dot_product_efficient_attention(
        query,
        key,
        value,
        bias,
        compute_log_sumexp=True,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
    )[0]
    return attended


_AS_CUDA = {
    functional.scaled_dot_product_attention: _cuda_attention,
}


class CudaSemantics(TorchFunctionMode):
    """Makes meta tensors take the paths of CUDA, which keep other things for the backward pass.

    Attributes:
        scratch: For an operation, what its kernel allocates inside and frees again.
    """

    scratch = _SCRATCH

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        as_cuda = _AS_CUDA.get(func, func)
        return as_cuda(*args, **(kwargs or {}))
