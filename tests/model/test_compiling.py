"""Layers compiled by torch.compile: the same losses, and one graph for all layers and shapes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import VARIANTS, gradient, stock_model, training
from torch import Tensor

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.compiling import compile_errors_explained, compile_layers
from asrscale.model.families import encoder_of
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.lora import add_lora
from asrscale.model.regularisation import attach_regulariser

PASSES = [(7, 3), (11, 3), (7, 3, 11)]  # of several shapes, each with padding

# Of a family whose layers differ, or take a first pass of another kind: WavLM's first layer makes the positions of all.
GRAPHS = {"wavlm": 2, "wavlm layer": 2, "bert": 2, "bert adapter": 2, "conformer relative": 3, "conformer rotary": 3}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is compiled before, and nothing stays."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where torch finds no compiler for C++, or not what it needs beside it."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(3))
    except torch._dynamo.exc.BackendCompilerFailed as error:
        pytest.skip(f"torch.compile does not work on this machine: {str(error).splitlines()[0]}")


def gradients(model: Path, *, compiled: bool, every: int, lora_rank: int) -> Tensor:
    """What a model with dropout learns in passes of several shapes."""
    recognizer = build_recognizer(str(model), "abc", seed=3, dropout=0.2)
    if lora_rank:
        torch.manual_seed(0)
        add_lora(recognizer.model, lora_rank)
    recognizer.model.train()
    checkpoint_activations(recognizer.model, every)
    if compiled:
        compile_layers(recognizer.model)
    regulariser = attach_regulariser(recognizer.model, layerdrop=0.0, mask_time_prob=0.0, mask_feature_prob=0.0)
    return torch.cat([gradient(recognizer, regulariser, utterances) for utterances in PASSES])


@pytest.mark.parametrize(
    ("kind", "every", "lora_rank"),
    [
        ("wav2vec2", 1, 0),
        pytest.param("wav2vec2", 0, 0, marks=pytest.mark.slow),
        pytest.param("wav2vec2", 0, 4, marks=pytest.mark.slow),
        pytest.param("wav2vec2", 2, 4, marks=pytest.mark.slow),
        *(pytest.param(kind, 0, 0, marks=pytest.mark.slow) for kind in VARIANTS[1:]),
    ],
)
@pytest.mark.usefixtures("compiler")
def test_compiled_layers_learn_the_same_from_one_graph(kind: str, every: int, lora_rank: int, tmp_path: Path) -> None:
    stock_model(kind).base_model.save_pretrained(tmp_path)
    eager, compiled = (
        gradients(tmp_path, compiled=compiled, every=every, lora_rank=lora_rank) for compiled in (False, True)
    )
    assert float((compiled - eager).abs().max() / eager.abs().max()) < 1e-5
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    # With LoRA, what the first layer gets needs no gradient.
    assert counters["stats"]["unique_graphs"] == GRAPHS.get(kind, 1) + bool(lora_rank)


def test_a_layer_that_cannot_be_compiled_is_refused_in_one_line(tmp_path: Path) -> None:
    stock_model("wav2vec2").base_model.save_pretrained(tmp_path)
    recognizer, regulariser = training(tmp_path)

    def broken(hidden: Tensor, **_: Any) -> Tensor:
        torch._dynamo.graph_break()
        return hidden

    encoder_of(recognizer.model).layers[0].forward = broken
    compile_layers(recognizer.model)
    with (
        pytest.raises(CliError, match=r"--compile_layers: torch cannot .* wav2vec2 model here: leave it out \("),
        compile_errors_explained("wav2vec2"),
    ):
        gradient(recognizer, regulariser, PASSES[0])
    with pytest.raises(RuntimeError, match="another"), compile_errors_explained("wav2vec2"):
        raise RuntimeError("another")
