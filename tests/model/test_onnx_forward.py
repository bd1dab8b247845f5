"""An ONNX file in the place of a model."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from asrscale.model.onnx_forward import OnnxForward
from asrscale.model.onnx_graph import GRAPH_INPUTS, GRAPH_OUTPUT


def test_the_graph_gets_samples_and_their_number(tmp_path: Path) -> None:
    """A graph whose output is the samples multiplied by the number of those that are real."""
    samples, lengths = GRAPH_INPUTS
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [lengths], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["count", "axis"], ["column"]),
            helper.make_node("Mul", [samples, "column"], [GRAPH_OUTPUT]),
        ],
        "times",
        [
            helper.make_tensor_value_info(samples, TensorProto.FLOAT, ["B", "T"]),
            helper.make_tensor_value_info(lengths, TensorProto.INT64, ["B"]),
        ],
        [helper.make_tensor_value_info(GRAPH_OUTPUT, TensorProto.FLOAT, ["B", "T"])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")

    inputs = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    output = OnnxForward(tmp_path / "model.onnx")(inputs, attention_mask=mask)
    assert np.array_equal(output.logits.numpy(), [[3.0, 6.0, 9.0], [8.0, 10.0, 0.0]])


def test_a_file_that_is_no_graph_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Exception, match=r"Protobuf|ONNX|model"):
        OnnxForward(tmp_path / "model.onnx")
