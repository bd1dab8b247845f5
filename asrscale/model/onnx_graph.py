"""A model as an ONNX graph: from samples to log-probabilities. Owns onnx.

The names of inputs and output are those that onnx-asr reads: its page "Convert Model to ONNX", "HuggingFace Wav2Vec2
CTC".
Shapes: B utterances, T samples, F frames, V vocabulary.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asrscale.model.families import stem_of
from asrscale.model.forward import count_frames, logits_of_samples
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ

GRAPH_INPUTS = ("input_values", "input_lengths")
GRAPH_OUTPUT = "logprobs"

IMPOSSIBLE = -1e4  # the logarithm of a probability of nothing, finite for those who compute on

# What is traced; the graph takes any other shape.
_TRACED_UTTERANCES = 2
_TRACED_SAMPLES = SAMPLE_RATE_HZ


class _Graph(nn.Module):
    """A recognizer from samples to log-probabilities, with all that `forward_logits` does inside."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.model = recognizer.model
        self.recognizer = recognizer

    def forward(self, input_values: Tensor, input_lengths: Tensor) -> dict[str, Tensor]:
        """Returns log-probabilities (B, F, V) of samples (B, T) in [-1, 1] and their (B,) true numbers.

        The frames after an utterance's end are blank, since others decode some of them.
        """
        logits = logits_of_samples(self.model, self.recognizer, input_values, input_lengths)
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        num_frames = count_frames(self.model, input_lengths)
        is_padding = torch.arange(logits.shape[1]) >= num_frames[:, None]
        blank = torch.full((logits.shape[2],), IMPOSSIBLE)
        blank[self.recognizer.vocabulary.blank_id] = 0.0
        return {GRAPH_OUTPUT: torch.where(is_padding[:, :, None], blank, log_probabilities)}


def trace_graph(recognizer: Recognizer) -> Any:
    """Returns a recognizer's ONNX graph, an `onnx_ir.Model`, with B and T left open.

    The recognizer's model is left in evaluation mode, without gradients.
    """
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    recognizer.model.eval().requires_grad_(False)
    samples = torch.zeros(_TRACED_UTTERANCES, _TRACED_SAMPLES).uniform_(-1, 1, generator=torch.Generator())
    lengths = torch.tensor([_TRACED_SAMPLES, _TRACED_SAMPLES // 2])
    with _whole_stem(recognizer), _quiet_exporter():
        program, _ = OnnxExporter().export_program(
            _Graph(recognizer), dict(zip(GRAPH_INPUTS, (samples, lengths), strict=True)), OnnxConfig(dynamic=True)
        )
    return program


def write_graph(program: Any, file: Path) -> None:
    """Writes a graph, and its weights to a file beside it whose name ends in `.data`."""
    from transformers.exporters.exporter_onnx import OnnxExporter

    OnnxExporter.save_program(program, file)


def quantize_graph(program: Any) -> Any:
    """Returns a graph whose matrices have 8 bits, and multiply what is rounded to 8 bits while it runs.

    Convolutions stay as they are: onnxruntime has no kernel for those with whole numbers on the CPU.
    """
    from transformers.exporters.configs import ExportFormat
    from transformers.exporters.quantizers import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

    config = OnnxRuntimeDynamicConfig(op_types_to_quantize=["MatMul"], per_channel=True)
    with _quiet_exporter():
        return OnnxRuntimeQuantizer(config).quantize(program, {}, ExportFormat.ONNX)


def write_graph_of_one(file: Path, new_file: Path) -> None:
    """Writes a graph that takes nothing but whole utterances, as sherpa-onnx gives them; it shares the weights.

    Args:
        file: A graph that `write_graph` wrote.
        new_file: Where to write the other one, in the same folder.
    """
    import onnx

    model = onnx.load(file, load_external_data=False)
    samples, lengths = GRAPH_INPUTS
    kept = [value for value in model.graph.input if value.name != lengths]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    nodes = [
        onnx.helper.make_node("Shape", [samples], ["num_utterances"], start=0, end=1),
        onnx.helper.make_node("Shape", [samples], ["num_samples"], start=1, end=2),
        onnx.helper.make_node("Expand", ["num_samples", "num_utterances"], [lengths]),
    ]
    all_nodes = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(all_nodes)
    onnx.save(model, new_file)


@contextmanager
def _whole_stem(recognizer: Recognizer) -> Iterator[None]:
    """Has a frozen stem take all utterances at once: the number of its slices would be fixed in the graph."""
    stem = stem_of(recognizer.model)
    assert stem is not None, "a model that takes waveforms"
    is_trained = stem._requires_grad
    stem._requires_grad = True
    try:
        yield
    finally:
        stem._requires_grad = is_trained


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Drops the notes that exporters print for their authors."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
