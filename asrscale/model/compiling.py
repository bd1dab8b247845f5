"""Layers of the transformer as graphs of kernels, by torch.compile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from asrscale.common.errors import CliError
from asrscale.model.families import CtcModel, encoder_of

# Of one layer's function, which torch counts for all layers together: passes with and without a mask, of one utterance
# and of more, in training, below a head that learns alone, and in evaluations. torch's own limit is 8.
GRAPHS = 32


def compile_layers(model: CtcModel) -> None:
    """Compiles the layers of a model's encoder, at the first pass of each kind; before anything wraps their forward.

    All layers and all shapes share one graph for each kind of pass. Where torch would have to break a graph it raises
    an error, which `compile_errors_explained` explains: broken graphs would gain nothing, and nobody would notice.
    """
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
    layers: Any = encoder_of(model).layers
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True, fullgraph=True)


@contextmanager
def compile_errors_explained(model_type: str) -> Iterator[None]:
    """Says what to do where layers cannot be compiled within.

    Raises:
        CliError: An operation of theirs cannot be in a graph, or there is no compiler.
    """
    try:
        yield
    except RuntimeError as error:
        exceptions = sys.modules.get("torch._dynamo.exc")  # which is imported with the first compilation
        if exceptions is None or not isinstance(error, exceptions.TorchDynamoException):
            raise
        reason = " ".join(str(error).split())[:200]
        message = f"--compile_layers: torch cannot compile the layers of this {model_type} model here: leave it out"
        raise CliError(f"{message} ({reason})") from error
