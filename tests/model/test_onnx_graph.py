"""A model as a graph: what it takes, what it gives; test_onnx_export.py has what it computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.models import noise, untrained_recognizer

from asrscale.model.families import stem_of
from asrscale.model.onnx_graph import (
    GRAPH_INPUTS,
    GRAPH_OUTPUT,
    IMPOSSIBLE,
    trace_graph,
    write_graph,
    write_graph_of_one,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recognizer = untrained_recognizer()
    stem = stem_of(recognizer.model)
    assert stem is not None
    was_trained = stem._requires_grad
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(trace_graph(recognizer), path)
    assert stem._requires_grad == was_trained and not recognizer.model.training
    return path


def feed(*lengths: int) -> dict[str, np.ndarray]:
    """Noise as the graph takes it."""
    waveforms, num_samples = noise(*lengths)
    arrays = (waveforms.numpy() / np.float32(32_768), num_samples.numpy())
    return dict(zip(GRAPH_INPUTS, arrays, strict=True))


def test_it_takes_any_number_of_utterances_and_samples(file: Path) -> None:
    session = onnxruntime.InferenceSession(file)
    assert tuple(one.name for one in session.get_inputs()) == GRAPH_INPUTS
    assert [one.name for one in session.get_outputs()] == [GRAPH_OUTPUT]
    assert all(not isinstance(size, int) for one in session.get_inputs() for size in one.shape)


def test_a_graph_of_whole_utterances_gives_the_same_and_shares_the_weights(file: Path) -> None:
    alone = file.with_name("alone.onnx")
    write_graph_of_one(file, alone)
    data = {path.name for path in file.parent.iterdir()} - {"model.onnx", "alone.onnx"}
    assert data == {"model.onnx.data"}
    onnx.checker.check_model(str(alone))
    inputs = feed(12_345, 12_345)
    [expected] = onnxruntime.InferenceSession(file).run(None, inputs)
    [found] = onnxruntime.InferenceSession(alone).run(None, {GRAPH_INPUTS[0]: inputs[GRAPH_INPUTS[0]]})
    assert np.array_equal(found, expected)


def test_frames_behind_the_end_are_blank(file: Path) -> None:
    recognizer = untrained_recognizer()
    [log_probabilities] = onnxruntime.InferenceSession(file).run(None, feed(16_000, 4_000))
    last = torch.from_numpy(log_probabilities[1, -1])
    assert last[recognizer.vocabulary.blank_id] == 0
    assert last.sort().values[:-1].eq(IMPOSSIBLE).all()
