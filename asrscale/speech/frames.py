"""How many frames a model makes of samples, and how many frames CTC needs for labels. Imports no torch."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from asrscale.speech.pcm import Count


@dataclass(frozen=True)
class Convolution:
    """A convolution over time, as far as it decides lengths."""

    kernel: int
    stride: int
    padding: int = 0  # zeros before the first value, and after the last

    def __post_init__(self) -> None:
        if min(self.kernel, self.stride) < 1 or self.padding < 0:
            raise ValueError(f"a convolution of kernel {self.kernel} and stride {self.stride} makes no frames")

    def num_outputs(self, num_inputs: Count) -> Count:
        """Returns its number of outputs; may be negative where there are fewer inputs than its kernel takes.

        The formula is that of torch.nn.Conv1d's documentation.
        """
        return (num_inputs + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class FrameGeometry:
    """How a model turns samples into the frames of its logits. Hashable, unlike a model.

    Attributes:
        stem: The convolutions in front of the encoder; windows of a spectrogram, and frames that are stacked, count as
            such.
        adapter: The convolutions between the encoder and the head, of a model with `add_adapter`.
    """

    stem: tuple[Convolution, ...]
    adapter: tuple[Convolution, ...] = ()

    @property
    def stride_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return math.prod(convolution.stride for convolution in self.stem + self.adapter)

    @property
    def offset_samples(self) -> int:
        """Samples by which the first frame is later than the encoder's first: they differ by what the adapter pads."""
        step_samples = math.prod(convolution.stride for convolution in self.stem)
        offset_samples = 0
        for convolution in self.adapter:
            offset_samples += ((convolution.kernel - 1) // 2 - convolution.padding) * step_samples
            step_samples *= convolution.stride
        return offset_samples

    @property
    def reach_samples(self) -> int:
        """Samples that the first frame is made of; each frame more takes `stride_samples` more at most."""
        num_inputs = 1
        for convolution in reversed(self.stem + self.adapter):
            num_inputs = (num_inputs - 1) * convolution.stride + convolution.kernel - 2 * convolution.padding
            num_inputs = max(1, num_inputs)
        return num_inputs

    def num_encoder_frames(self, num_samples: Count) -> Count:
        """Returns how many frames the encoder gets of `num_samples` samples; takes a number, or an array of them."""
        return _num_outputs(self.stem, num_samples)

    def num_frames(self, num_samples: Count) -> Count:
        """Returns how many frames the logits of `num_samples` samples have; takes a number, or an array of them."""
        encoder_frames = self.num_encoder_frames(num_samples)
        return _num_outputs(self.adapter, encoder_frames) * (encoder_frames > 0)


def _num_outputs(convolutions: Sequence[Convolution], num_inputs: Count) -> Count:
    """Returns the outputs of convolutions one after another, 0 at least."""
    num_outputs = num_inputs
    for convolution in convolutions:
        num_outputs = convolution.num_outputs(num_outputs)
    return num_outputs * (num_outputs > 0)  # of numbers, arrays and tensors alike


def _unpadded(kernels: Sequence[int], strides: Sequence[int]) -> tuple[Convolution, ...]:
    return tuple(Convolution(kernel, stride) for kernel, stride in zip(kernels, strides, strict=True))


# Of every public wav2vec2 checkpoint: a frame covers 25 ms of audio, and one starts every 20 ms.
WAV2VEC2 = FrameGeometry(_unpadded(kernels=(10, 3, 3, 3, 3, 2, 2), strides=(5, 2, 2, 2, 2, 2, 2)))

# The same frames by more convolutions.
_SEW = FrameGeometry(
    _unpadded(kernels=(10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1), strides=(5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1))
)

# The windows of transformers' SeamlessM4TFeatureExtractor, 25 ms of audio every 10 ms, of which some are stacked.
LOG_MEL_WINDOW = Convolution(kernel=400, stride=160)
LOG_MEL_BINS = 80

_MAX_ADAPTER_LAYERS = 100  # each halves the frames: after 20 of them an hour has none

# Other families have no such adapter, whatever their configuration says.
_ADAPTED = ("wav2vec2", "wav2vec2-conformer", "wavlm", "data2vec-audio", "wav2vec2-bert")


def geometry_of(config: Mapping[str, Any]) -> FrameGeometry:
    """Returns the geometry of a model by the content of its config.json.

    What is missing there has the default of transformers' configuration.

    Raises:
        TypeError, ValueError: The configuration holds no such numbers.
    """
    family = config.get("model_type", "wav2vec2")
    return FrameGeometry(_stem_of(family, config), _adapter_of(family, config))


def _stem_of(family: str, config: Mapping[str, Any]) -> tuple[Convolution, ...]:
    """Returns the convolutions in front of the encoder."""
    if family == "wav2vec2-bert":
        stacked = stacked_windows(config)
        return LOG_MEL_WINDOW, Convolution(kernel=stacked, stride=stacked)
    default = _SEW if family == "sew" else WAV2VEC2
    default_kernels = [convolution.kernel for convolution in default.stem]
    default_strides = [convolution.stride for convolution in default.stem]
    return _unpadded(config.get("conv_kernel", default_kernels), config.get("conv_stride", default_strides))


def stacked_windows(config: Mapping[str, Any]) -> int:
    """Returns how many windows of log-mel features make a frame of Wav2Vec2-BERT, by the content of its config.json."""
    num_features: int = config.get("feature_projection_input_dim", 2 * LOG_MEL_BINS)
    return num_features // LOG_MEL_BINS


def _adapter_of(family: str, config: Mapping[str, Any]) -> tuple[Convolution, ...]:
    """Returns the convolutions between the encoder and the head; none without `add_adapter`."""
    if family not in _ADAPTED or not config.get("add_adapter", False):
        return ()
    is_bert = family == "wav2vec2-bert"
    kernel = config.get("adapter_kernel_size", 3)
    stride = config.get("adapter_stride", 2)
    layers = config.get("num_adapter_layers", 1 if is_bert else 3)
    padding = stride // 2 if is_bert else 1  # as their layers have it, whatever the kernel
    if layers > _MAX_ADAPTER_LAYERS:
        raise ValueError(f"num_adapter_layers {layers:,}: no model has so many")
    return (Convolution(kernel, stride, padding),) * int(layers)


def frames_needed(labels: Sequence[Hashable]) -> int:
    """The fewest frames in which CTC can emit `labels`: one for each, and a blank between equal neighbours."""
    repeats = sum(left == right for left, right in pairwise(labels))
    return len(labels) + repeats
