"""What would reach an utterance from the padding behind it, without our hooks."""

import pytest
import torch
from helpers.models import noise, stock_model, untrained_recognizer

from asrscale.model.encoder_padding import FixedBatchNorm
from asrscale.model.forward import forward_logits
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer


@pytest.mark.parametrize("kind", ["hubert batch", "data2vec", "conformer relative", "sew layer"])
def test_stock_encoders_do_depend_on_padding(kind: str) -> None:
    """Without a group norm in the stem: what is left is the encoder's."""
    stock = stock_model(kind, feat_extract_norm="layer", conv_bias=True) if kind != "data2vec" else stock_model(kind)
    waveform = torch.randn(1, 16_720)  # 52 frames, of which SEW pools 51
    padded = torch.nn.functional.pad(waveform, (0, 32_000))
    mask = (torch.arange(padded.shape[1]) < waveform.shape[1]).long()[None]
    alone = stock(waveform).logits
    in_batch = stock(padded, attention_mask=mask).logits[:, : alone.shape[1]]
    assert (alone - in_batch).abs().max().item() > 0.005 * alone.abs().max().item()


@pytest.mark.parametrize("kind", ["conformer relative", "hubert batch"])
def test_a_batch_norm_has_the_statistics_of_its_checkpoint_in_training_too(kind: str) -> None:
    """In training without dropout the logits are those of evaluation, and no statistic moves."""
    recognizer = untrained_recognizer()
    dropouts = ("hidden", "activation", "attention", "feat_proj", "final", "conformer_conv")
    settings = {f"{name}_dropout": 0.0 for name in dropouts} | {"apply_spec_augment": False, "layerdrop": 0.0}
    model = make_padding_invariant(stock_model(kind, **settings))
    ours = Recognizer(model, recognizer.processor, recognizer.vocabulary)
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    batch = noise(16_000, 9_000)
    evaluated = forward_logits(model, ours, *batch)
    trained = forward_logits(model.train(), ours, *batch)
    assert torch.equal(trained, evaluated)
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
    trained.square().mean().backward()
    norms = [module for module in model.modules() if isinstance(module, FixedBatchNorm)]
    assert norms and all(norm.weight.grad.norm() > 0 for norm in norms)


def test_an_utterance_shorter_than_a_group_that_is_pooled_has_finite_logits_and_gradients() -> None:
    """Alone, SEW has no pooled frame of it, which torch refuses; in a batch it must spoil nothing."""
    recognizer = untrained_recognizer()
    model = make_padding_invariant(stock_model("sew layer")).train()
    ours = Recognizer(model, recognizer.processor, recognizer.vocabulary)
    logits = forward_logits(model, ours, *noise(16_000, 800))
    assert logits.isfinite().all()
    logits.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
