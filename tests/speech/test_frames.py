"""Arithmetic of samples, frames and labels."""

import numpy as np
import pytest

from asrscale.speech.frames import WAV2VEC2_STEM, frames_needed


def test_num_frames_of_wav2vec2() -> None:
    # one second is 49 frames, and 400 samples are the shortest input with a frame
    for samples, expected in ((16_000, 49), (400, 1), (399, 0), (9, 0), (0, 0)):
        assert WAV2VEC2_STEM.num_frames(samples) == expected
    samples_array = np.array([16_000, 400, 399, 0])
    assert WAV2VEC2_STEM.num_frames(samples_array).tolist() == [49, 1, 0, 0]
    assert samples_array.tolist() == [16_000, 400, 399, 0]


@pytest.mark.parametrize(("labels", "frames"), [("", 0), ("a", 1), ("ab", 2), ("aab", 4), ("aaaa", 7), ([1, 1, 2], 4)])
def test_frames_that_ctc_needs(labels: str | list[int], frames: int) -> None:
    assert frames_needed(labels) == frames
