import pytest
import torch
from helpers.models import noise, untrained_recognizer

from asrscale.model.building import build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.recognizer import Recognizer, describe


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


def test_freezing_and_checkpointing_leave_the_other_gradients_alone(tiny: Recognizer) -> None:
    gradients = []
    for enabled in (False, True):
        recognizer = build_recognizer("tiny", "abc", seed=3)
        freeze_feature_encoder(recognizer.model)
        if enabled:
            checkpoint_activations(recognizer.model)
        recognizer.model.train()
        waveforms, lengths = noise(16_000, 9_000)
        forward_logits(recognizer.model, recognizer, waveforms, lengths).square().mean().backward()
        gradients.append({name: p.grad for name, p in recognizer.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert not any("feature_extractor" in name for name in gradients[0])
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-7) for name in gradients[0])
    trainable = describe(recognizer)["trainable_parameters"]
    assert 0 < trainable < describe(recognizer)["parameters"]
