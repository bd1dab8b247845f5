"""Gradients that are parts of one tensor: clipped as torch does, dropped where they are not finite."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from asrscale.training.flat_gradients import FlatGradients, add_up_and_clip, attach_flat_gradients, clear


def model_and_loss() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3), nn.Linear(9, 9))  # the last is not used
    return model[:3].append(model[3]), model[:3](torch.randn(4, 5)).square().sum()


def attached(model: nn.Module) -> FlatGradients:
    return attach_flat_gradients(model.parameters())


@pytest.mark.parametrize("most", [0.1, 1e6])
def test_gradients_are_clipped_as_torch_does_to_the_last_bit(most: float) -> None:
    (model, loss), (stock, stock_loss) = model_and_loss(), model_and_loss()
    gradients = attached(model)
    for _ in range(2):  # passes add up
        loss.backward(retain_graph=True)
        stock_loss.backward(retain_graph=True)
    expected = nn.utils.clip_grad_norm_(stock.parameters(), most)
    assert add_up_and_clip(gradients, most, world_size=1) == float(expected)
    for own, other in zip(model.parameters(), stock.parameters(), strict=True):
        assert own.grad is not None
        assert torch.equal(own.grad, torch.zeros_like(own) if other.grad is None else other.grad)
    clear(gradients)
    assert not any(own.grad.any() for own in model.parameters() if own.grad is not None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_where_a_gradient_is_not_finite_weights_and_moments_stay_and_the_next_step_is_as_ever(bad: float) -> None:
    model, loss = model_and_loss()
    gradients = attached(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loss.backward(retain_graph=True)
    add_up_and_clip(gradients, 1.0, world_size=1)
    optimizer.step()
    before = copy.deepcopy([model.state_dict(), optimizer.state_dict()["state"]])

    clear(gradients)
    (loss * bad).backward(retain_graph=True)
    assert not math.isfinite(add_up_and_clip(gradients, 1.0, world_size=1))
    optimizer.step()
    torch.testing.assert_close([model.state_dict(), optimizer.state_dict()["state"]], before, atol=0, rtol=0)

    clear(gradients)
    loss.backward()
    assert add_up_and_clip(gradients, 1.0, world_size=1) > 0
    optimizer.step()
    assert not torch.equal(model.state_dict()["0.weight"], before[0]["0.weight"])
