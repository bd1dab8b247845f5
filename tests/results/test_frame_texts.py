import json

import numpy as np
import pytest
import torch

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.model.recognizer import Recognizer
from asrscale.results.frame_texts import (
    Hypothesis,
    keeping_reader,
    log_probabilities_of,
    of_tokens,
    plain_reader,
    text_reader,
)


def logits_of(texts: list[str], recognizer: Recognizer, frames: int) -> torch.Tensor:
    """Frames that say texts, a letter in every second one, and something else behind their ends."""
    vocabulary = recognizer.vocabulary
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.5, (len(texts), frames, len(vocabulary.tokens))).astype(np.float32)
    for row, text in enumerate(texts):
        logits[row, :, vocabulary.blank_id] += 4
        for place, id in enumerate(vocabulary.encode(text)):
            logits[row, 2 * place, id] += 6
        logits[row, 2 * len(text) :, vocabulary.encode("c")[0]] += 20  # padding
    return torch.from_numpy(logits)


@pytest.fixture
def logits(tone_recognizer: Recognizer) -> torch.Tensor:
    return logits_of(["ab ba", "ba"], tone_recognizer, 12)


NUM_FRAMES = torch.tensor([10, 4])


def test_best_paths_have_the_probabilities_of_their_tokens(tone_recognizer: Recognizer, logits: torch.Tensor) -> None:
    """Products of the softmax at the frames of the letters, at both temperatures."""
    recognizer = tone_recognizer
    read = text_reader(recognizer)([7, 9], logits, NUM_FRAMES)
    assert [one.text for one in read] == ["ab ba", "ba"]
    assert [one.text for one in plain_reader(recognizer)([7, 9], logits, NUM_FRAMES)] == ["ab ba", "ba"]
    probabilities = torch.softmax(logits, -1)
    a, b = (recognizer.vocabulary.encode(letter)[0] for letter in "ab")
    expected = [float(probabilities[0, 0, a] * probabilities[0, 2, b])]
    expected += [float(probabilities[0, 6, b] * probabilities[0, 8, a])]
    assert list(read[0].confidences) == pytest.approx(expected, abs=1e-4)
    assert read[0].uncalibrated == read[0].confidences  # the model has a temperature of 1
    at_two = torch.softmax(logits / 2, -1).gather(-1, logits.argmax(-1)[..., None])[..., 0]
    assert of_tokens(logits, logits.argmax(-1), 2.0).exp().numpy() == pytest.approx(at_two.numpy(), rel=1e-5)


def test_a_search_reads_the_same_of_clear_frames_and_keeps_its_texts(
    tone_recognizer: Recognizer, logits: torch.Tensor
) -> None:
    scorer, _ = build_scorer(tone_recognizer.vocabulary, None, Weights())
    decoder = Decoder(scorer, Pruning(32, np.inf, np.inf), 2.0, 3)
    read = text_reader(tone_recognizer, decoder)([7, 9], logits, NUM_FRAMES)
    assert [one.text for one in read] == ["ab ba", "ba"]
    for one in read:
        assert len(one.confidences) == len(one.uncalibrated) == len(one.text.split())
        assert max(one.confidences) < min(one.uncalibrated)  # twice the temperature
        scores = [score for _, score in one.alternatives]
        assert one.alternatives[0][0] == one.text and len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_padding_is_no_frame(tone_recognizer: Recognizer, logits: torch.Tensor) -> None:
    kept: list[tuple[int, LogProbabilities]] = []
    read = keeping_reader(tone_recognizer, kept)([7, 9], logits, NUM_FRAMES)
    assert [one.text for one in read] == ["ab ba", "ba"]
    assert [(number, len(frames)) for number, frames in kept] == [(7, 10), (9, 4)]
    for row, (_, frames) in enumerate(kept):
        expected = torch.log_softmax(logits[row, : len(frames)], -1).numpy()
        assert frames == pytest.approx(expected, abs=1e-6) and frames.flags.c_contiguous
    [first, second] = log_probabilities_of(logits, NUM_FRAMES)
    assert np.array_equal(first, kept[0][1]) and np.array_equal(second, kept[1][1])


def test_a_hypothesis_is_the_same_behind_its_line_in_a_file() -> None:
    hypothesis = Hypothesis("a b", [0.5, 0.25], [0.75, 0.5], [["a b", -1.0], ["a", -2.0]])
    assert Hypothesis(*json.loads(json.dumps(hypothesis))) == hypothesis
