import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.tape import Tape
from asrscale.model.dropout import Dropout, draw_keys, keep


def alive(make: object) -> int:
    """Bytes that a call on meta tensors leaves behind under CUDA's semantics, its result included."""
    tape = Tape("meta", CudaSemantics.scratch)
    with CudaSemantics(), tape:
        kept = make()  # type: ignore[operator]
        assert kept is not None
        return tape.live_bytes


def test_dropout_keeps_its_result_and_a_byte_an_element() -> None:
    x = torch.empty(2, 5, 10, device="meta", requires_grad=True)
    dropout = Dropout(features=10, modules=[nn.Identity()])
    draw_keys(dropout, np.array([3, 4]), 5, x.device, seed=1, step=2)
    assert alive(lambda: keep(x, dropout.frame_keys[0], dropout.feature_keys, 0.1)) == 100 * (4 + 1) + 4 * (
        2 * 5 + 10
    )  # and the keys


def test_the_mask_of_attention_becomes_numbers_in_rows_padded_to_16() -> None:
    query = torch.empty(2, 4, 17, 8, device="meta", dtype=torch.bfloat16, requires_grad=True)
    mask = torch.empty(2, 1, 17, 17, device="meta", dtype=torch.bool)

    def attend(mask: Tensor | None) -> Tensor:
        return functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    assert alive(lambda: attend(mask)) - alive(lambda: attend(None)) == 2 * (2 * 1 * 17 * 32)


def scratch(operation: object, *args: object, result: object = None) -> int:
    return CudaSemantics.scratch[operation](args, result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_kernels_need_inside(dtype: torch.dtype) -> None:
    aten = torch.ops.aten
    half = dtype == torch.bfloat16
    B, H, F, D = 2, 4, 17, 8
    query = torch.empty(B, H, F, D, device="meta", dtype=dtype)
    attention = aten._scaled_dot_product_efficient_attention_backward.default
    assert scratch(attention, query, query) == 4 * B * H * F * (D + 1 if half else 1)

    sound = torch.empty(2, 3, 50, device="meta", dtype=dtype)
    weight = torch.empty(5, 3, 10, device="meta", dtype=dtype)
    output = torch.empty(2, 5, 41, device="meta", dtype=dtype)
    bias = torch.empty(5, device="meta", dtype=dtype)
    forward_bytes = scratch(aten.convolution.default, sound, weight, bias, result=output)
    assert forward_bytes == (sound.nbytes + output.nbytes if half else 0)
    gradients = (sound, weight, bias)
    backward_bytes = scratch(aten.convolution_backward.default, output, sound, weight, result=gradients)
    assert backward_bytes == (output.nbytes + 2 * sound.nbytes + weight.nbytes if half else 0)

    turned = output.transpose(1, 2)
    assert scratch(aten.native_layer_norm.default, turned, [5]) == turned.nbytes
    assert scratch(aten.native_layer_norm.default, output, [41]) == 0

    log_alpha = torch.empty(2, 17, 7, device="meta")
    assert scratch(aten._ctc_loss_backward.Tensor, *[None] * 6, log_alpha) == log_alpha.nbytes
