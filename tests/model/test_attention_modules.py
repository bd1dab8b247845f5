"""Attention that calls its own layers, and positions in fp32."""

from typing import Any

import torch
from helpers.models import stock_model

from asrscale.model.attention_modules import replace_attention_modules
from asrscale.model.families import attentions_of, encoder_of


def test_wavlms_attention_calls_its_linear_layers_as_stock_does_not() -> None:
    """Else what LoRA adds to them would be left out, and dropout would have no place to hook into."""

    def called(model: Any) -> set[str]:
        names: set[str] = set()
        for name, layer in attentions_of(model)[0].named_children():
            layer.register_forward_hook(lambda *_, name=name: names.add(name))
        model(torch.randn(1, 3_000))
        return names

    projections = {"q_proj", "k_proj", "v_proj", "out_proj"}
    stock, ours = stock_model("wavlm"), stock_model("wavlm")
    replace_attention_modules(ours)
    assert not projections & called(stock)
    assert projections <= called(ours)


def test_rotary_positions_are_right_in_bf16_far_from_the_beginning() -> None:
    stock, ours = stock_model("conformer rotary"), stock_model("conformer rotary")
    replace_attention_modules(ours)
    frames = torch.zeros(1, 700, 32)
    expected = encoder_of(stock).embed_positions(frames)
    assert torch.equal(encoder_of(ours).embed_positions(frames), expected)
    half = frames.bfloat16()
    found = encoder_of(ours.bfloat16()).embed_positions(half)
    assert torch.equal(found, expected.bfloat16())
    of_stock = encoder_of(stock_model("conformer rotary").bfloat16()).embed_positions(half)
    assert (of_stock.float() - expected)[:, 300:].abs().max() > 0.5, "what this is for"
