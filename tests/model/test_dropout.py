"""Dropout by hashes: as random as torch's, and the same whatever else is in the batch."""

import numpy as np
import pytest
import torch
from helpers.models import FAMILIES, SMALL
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.model.dropout import Dropout, attach_dropout, draw_keys, keep

B, F, H = 6, 400, 256


def dropout_of(places: int) -> Dropout:
    """The dropout of a model that drops at so many places."""
    return Dropout(H, [nn.Identity() for _ in range(places)])


def dropped(dropout: Dropout, x: torch.Tensor, place: int, probability: float) -> torch.Tensor:
    """What a place leaves of (B, F, H)."""
    module = dropout.modules[place]
    return keep(x, module.frame_keys, module.feature_keys, probability)


def kept(probability: float = 0.3, places: int = 2, **where: int) -> torch.Tensor:
    """What stays of (S, B, F, H) ones, scaled up."""
    dropout = dropout_of(places)
    draw_keys(dropout, np.arange(B), F, torch.device("cpu"), **{"seed": 1, "step": 2} | where)
    return torch.stack([dropped(dropout, torch.ones(B, F, H), place, probability) for place in range(places)])


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_others_scaled_up(probability: float) -> None:
    found = kept(probability)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - probability)])
    share = (found == 0).double().mean().item()
    deviation = (probability * (1 - probability) / found.numel()) ** 0.5
    assert abs(share - probability) < 4 * deviation


@pytest.mark.parametrize("kind", ["rows", "frames", "features", "places", "steps", "seeds"])
def test_what_is_dropped_here_says_nothing_about_there(kind: str) -> None:
    """Correlations are those of independent draws: their spread is 1 / √n, and none is far beyond."""
    probability = 0.3
    here = (kept(probability) == 0).double()
    other = (kept(probability, **{"step": {"steps": 3}.get(kind, 2), "seed": {"seeds": 2}.get(kind, 1)}) == 0).double()
    standard = (here - probability) / (probability * (1 - probability)) ** 0.5
    standard_other = (other - probability) / (probability * (1 - probability)) ** 0.5
    vectors, others = {
        "rows": (standard[0].flatten(1), standard[0].flatten(1)),
        "frames": (standard[0, 0], standard[0, 0]),
        "features": (standard[0, 0].T, standard[0, 0].T),
        "places": (standard[0, 0], standard[1, 0]),
        "steps": (standard[0, 0], standard_other[0, 0]),
        "seeds": (standard[0, 0], standard_other[0, 0]),
    }[kind]
    correlations = vectors @ others.T / vectors.shape[1]
    if kind in ("rows", "frames", "features"):
        correlations = correlations[~torch.eye(len(vectors), dtype=torch.bool)]
    spread = vectors.shape[1] ** -0.5
    assert correlations.std().item() == pytest.approx(spread, rel=0.3 if kind == "rows" else 0.03)
    assert correlations.abs().max().item() < 6 * spread


def test_masks_are_functions_of_the_utterance_and_the_frame() -> None:
    together, alone = dropout_of(1), dropout_of(1)
    draw_keys(together, np.array([5, 9, 2]), 50, torch.device("cpu"), seed=1, step=2)
    draw_keys(alone, np.array([9]), 80, torch.device("cpu"), seed=1, step=2)
    x = torch.randn(3, 50, H)
    padded = torch.cat([x[1:2], torch.zeros(1, 30, H)], dim=1)
    assert torch.equal(dropped(together, x, 0, 0.2)[1], dropped(alone, padded, 0, 0.2)[0, :50])


def test_the_gradient_is_dropped_alike() -> None:
    dropout = dropout_of(1)
    draw_keys(dropout, np.arange(B), F, torch.device("cpu"), seed=1, step=2)
    x = torch.randn(B, F, H, requires_grad=True)
    dropped(dropout, x, 0, 0.3).sum().backward()
    assert torch.equal(x.grad, dropped(dropout, torch.ones(B, F, H), 0, 0.3))


@pytest.mark.parametrize("family", FAMILIES)
def test_dropped_attention_is_that_of_stock_transformers_in_mean_and_spread(family: str) -> None:
    """Dropping a value for all queries of a head gives each query what dropping weights one by one gives it."""
    probability = 0.3
    config = Wav2Vec2Config(**SMALL | FAMILIES[family] | {"attention_dropout": probability})
    torch.manual_seed(0)
    stock = Wav2Vec2ForCTC(config).wav2vec2.encoder.layers[0].attention.train()
    x = torch.randn(1, 7, config.hidden_size).expand(4_000, -1, -1)
    with torch.no_grad():
        expected = stock(x)[0]
        model = Wav2Vec2ForCTC(config).train()
        ours = model.wav2vec2.encoder.layers[0].attention
        ours.load_state_dict(stock.state_dict())
        dropout = attach_dropout(model)
        draw_keys(dropout, np.arange(4_000), 7, torch.device("cpu"), seed=1, step=2)
        found = ours(x)[0]
    assert ours.dropout == 0 and model.config.attention_dropout == probability
    deviation = expected.std(0)
    assert torch.allclose(found.std(0), deviation, rtol=0.1)
    assert ((found.mean(0) - expected.mean(0)).abs() < 6 * deviation / 4_000**0.5).all()


def test_a_model_without_dropout_is_left_alone() -> None:
    config = Wav2Vec2Config(**SMALL | dict.fromkeys(("hidden_dropout", "activation_dropout"), 0.0))
    config.update({"attention_dropout": 0.0, "feat_proj_dropout": 0.0, "final_dropout": 0.0})
    model = Wav2Vec2ForCTC(config)
    dropout = attach_dropout(model)
    draw_keys(dropout, np.arange(2), 5, torch.device("cpu"), seed=1, step=2)
    assert dropout.places == 0 and dropout.frame_keys is None
    assert not any("WithDropout" in type(module).__name__ for module in model.modules())
