"""A dropped layer computes nothing, and all else is as if it were computed and multiplied by zero."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import ONE_OF_EACH, noise, stock_model
from torch import nn

from asrscale.data.batches import Batch
from asrscale.model.building import build_recognizer
from asrscale.model.families import encoder_of
from asrscale.model.forward import forward_logits
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.lora import add_lora
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser, prepare_pass

VARIANTS = [*ONE_OF_EACH, "conformer rotary", "wavlm layer", "adapter"]
LAYERS = 3


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pretrained checkpoint, without a vocabulary, for each kind."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in VARIANTS:
        stock_model(kind, num_hidden_layers=LAYERS).base_model.save_pretrained(folder / kind)
    return folder


def training(folder: Path, lora_rank: int = 0) -> tuple[Recognizer, Regulariser]:
    recognizer = build_recognizer(str(folder), "abc", seed=3, dropout=0.1)
    if lora_rank:
        add_lora(recognizer.model, lora_rank)
    recognizer.model.train()
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
    return recognizer, regulariser


def multiply_by_zero(dropped: set[int], recognizer: Recognizer) -> None:
    """LayerDrop by its definition: what some layers add is computed, and multiplied by zero."""

    def drop(_layer: nn.Module, inputs: tuple[torch.Tensor], output: Any) -> Any:
        if isinstance(output, tuple):
            return inputs[0] + 0.0 * output[0], *output[1:]
        return inputs[0] + 0.0 * output

    for number in dropped:
        encoder_of(recognizer.model).layers[number].register_forward_hook(drop)


def results(recognizer: Recognizer, regulariser: Regulariser, dropped: set[int]) -> dict[str, torch.Tensor | None]:
    """The logits of a pass of two utterances, and the gradient of all weights."""
    waveforms, lengths = noise(9_000, 6_000)
    labels = torch.ones(2, 1, dtype=torch.long)
    prepare_pass(
        regulariser, recognizer.model, Batch(np.arange(2), waveforms, lengths, labels, labels[:, 0]), seed=1, step=0
    )
    regulariser.dropped_layers = frozenset(dropped)
    logits = forward_logits(recognizer.model, recognizer, waveforms, lengths)
    logits.float().square().sum().backward()
    return {"logits": logits.detach()} | {name: p.grad for name, p in recognizer.model.named_parameters()}


def calls_of(layer: nn.Module) -> list[nn.Module]:
    """A list which gets each module inside of a layer that is called."""
    calls: list[nn.Module] = []
    for module in layer.modules():
        if module is not layer:
            module.register_forward_hook(lambda called, *_: calls.append(called))
    return calls


WAYS = [(kind, way) for kind in VARIANTS for way in ("", "checkpointing")]
WAYS += [(kind, way) for kind in ("wav2vec2", "conformer relative", "wavlm", "bert") for way in ("lora", "bf16")]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_a_dropped_layer_computes_nothing_and_changes_nothing_else(kind: str, way: str, checkpoints: Path) -> None:
    def made() -> tuple[Recognizer, Regulariser]:
        recognizer, regulariser = training(checkpoints / kind, lora_rank=2 if way == "lora" else 0)
        checkpoint_activations(recognizer.model, int(way == "checkpointing"))
        recognizer.model.to(torch.bfloat16 if way == "bf16" else torch.float32)
        return recognizer, regulariser

    for dropped in ({0}, {1, 2}):
        reference = made()
        multiply_by_zero(dropped, reference[0])
        expected = results(*reference, dropped=set())
        recognizer, regulariser = made()
        layers = encoder_of(recognizer.model).layers
        calls = {number: calls_of(layers[number]) for number in range(LAYERS)}
        found = results(recognizer, regulariser, dropped)
        # WavLM's first layer makes the position bias of all.
        called = {number for number in calls if [one for one in calls[number] if not isinstance(one, nn.Embedding)]}
        assert called == set(range(LAYERS)) - dropped
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert (value is None) == (found[name] is None), name
            assert value is None or value.equal(found[name]), name


def test_a_layer_that_zero_3_fetches_is_computed(checkpoints: Path) -> None:
    """Hooks on its modules fetch its weights, in the order of the pass before."""
    recognizer, regulariser = training(checkpoints / "wavlm")
    layer = encoder_of(recognizer.model).layers[1]
    calls = calls_of(layer)
    layer.final_layer_norm.bias.ds_id = 0  # as DeepSpeed marks all
    found = results(recognizer, regulariser, {1})
    assert calls
    reference, unregularised = training(checkpoints / "wavlm")
    multiply_by_zero({1}, reference)
    expected = results(reference, unregularised, set())
    assert all(value.equal(found[name]) for name, value in expected.items() if value is not None)
