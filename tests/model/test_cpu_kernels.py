import torch
from helpers.models import noise, stock_model, untrained_recognizer

from asrscale.model.cpu_kernels import suitable_kernels
from asrscale.model.forward import forward_logits
from asrscale.model.recognizer import Recognizer


def uses_onednn(model: torch.nn.Module) -> bool:
    with suitable_kernels(model):
        inside = torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled  # again
    return bool(inside)


def trained(recognizer: Recognizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a padded pass, and the gradient of all weights."""
    model = recognizer.model.train()
    model.zero_grad()
    logits = forward_logits(model, recognizer, *noise(48_000, 31_000))
    logits.square().sum().backward()
    gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return logits.detach(), torch.cat(gradients)


def test_only_small_models_are_computed_without_compiling_for_each_shape() -> None:
    recognizer = untrained_recognizer()
    assert not uses_onednn(recognizer.model)
    assert uses_onednn(recognizer.model.to(torch.bfloat16))
    assert uses_onednn(recognizer.model.to(torch.float32).to("meta"))
    assert uses_onednn(stock_model("wav2vec2", conv_dim=[160] * 7))
    assert uses_onednn(stock_model("bert"))


def test_other_kernels_compute_the_same() -> None:
    recognizer = untrained_recognizer()
    logits, gradient = trained(recognizer)
    with suitable_kernels(recognizer.model):
        other_logits, other_gradient = trained(recognizer)
    assert torch.allclose(other_logits, logits, atol=1e-5, rtol=0)
    assert torch.allclose(other_gradient, gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4)
