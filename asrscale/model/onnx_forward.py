"""Runs a model that was written as ONNX. Owns onnxruntime."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from asrscale.model.onnx_graph import GRAPH_INPUTS, GRAPH_OUTPUT


class OnnxForward(nn.Module):
    """A model in an ONNX file, to be called in place of a `Recognizer`'s own; on the CPU."""

    takes_lengths_from_mask = True  # those of samples, which a pass without padded frames may still have fewer of

    def __init__(self, file: Path) -> None:
        """Opens the file, which `asrscale.model.onnx_graph` made."""
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def forward(self, input_values: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Returns log-probabilities (B, F, V) as `logits`.

        Args:
            input_values: (B, T) samples, whose mean and variance may be normalised already: that changes nothing.
            attention_mask: (B, T), 1 for those of the utterance.
        """
        inputs = (input_values.float(), attention_mask.sum(-1))
        feed = {name: tensor.numpy() for name, tensor in zip(GRAPH_INPUTS, inputs, strict=True)}
        [log_probabilities] = self.session.run([GRAPH_OUTPUT], feed)
        return SimpleNamespace(logits=torch.from_numpy(log_probabilities))
