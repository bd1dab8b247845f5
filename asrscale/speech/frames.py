"""How many frames a model makes of samples, and how many frames CTC needs for labels."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from asrscale.speech.pcm import Count


@dataclass(frozen=True)
class ConvStem:
    """The unpadded convolutions that turn samples into frames. Hashable, unlike a model."""

    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def stride_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return math.prod(self.strides)

    def num_frames(self, num_samples: Count) -> Count:
        """The number of frames of `num_samples` samples; takes a number, or an array of them."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        if isinstance(num_samples, int):
            return max(num_samples, 0)
        return np.maximum(num_samples, 0)


# Of every public wav2vec2 checkpoint: a frame covers 25 ms of audio, and one starts every 20 ms.
WAV2VEC2_STEM = ConvStem(kernels=(10, 3, 3, 3, 3, 2, 2), strides=(5, 2, 2, 2, 2, 2, 2))


def frames_needed(labels: Sequence[Hashable]) -> int:
    """The fewest frames in which CTC can emit `labels`: one for each, and a blank between equal neighbours."""
    repeats = sum(left == right for left, right in pairwise(labels))
    return len(labels) + repeats
