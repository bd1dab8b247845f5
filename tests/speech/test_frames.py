"""Arithmetic of samples, frames and labels."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCTC, SeamlessM4TFeatureExtractor

from asrscale.speech.frames import WAV2VEC2, Convolution, FrameGeometry, frames_needed, geometry_of

# Of any family, as small as it can be.
SMALL = dict(
    hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, conv_dim=[4] * 7,
    num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=1, vocab_size=5,
)  # fmt: skip
ADAPTED = SMALL | {"add_adapter": True}
SHORT_STEM = {"conv_dim": [4, 4], "conv_kernel": [10, 8], "conv_stride": [20, 16]}

# The family, and its settings.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", SMALL),
    "two convolutions": ("wav2vec2", SMALL | SHORT_STEM),
    "conformer": ("wav2vec2-conformer", SMALL),
    "hubert": ("hubert", SMALL),
    "wavlm": ("wavlm", SMALL | {"num_buckets": 8}),
    "data2vec": ("data2vec-audio", SMALL | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3}),
    "unispeech": ("unispeech", SMALL),
    "unispeech-sat": ("unispeech-sat", SMALL),
    "sew": ("sew", SMALL | {"conv_dim": [4] * 13}),
    "sew squeezed by 3": ("sew", SMALL | {"conv_dim": [4] * 13, "squeeze_factor": 3}),
    "adapter": ("wav2vec2", ADAPTED),
    "one layer of kernel 5": ("wav2vec2", ADAPTED | {"num_adapter_layers": 1, "adapter_kernel_size": 5}),
    "two layers of kernel 2": ("wav2vec2", ADAPTED | {"num_adapter_layers": 2, "adapter_kernel_size": 2}),
    "kernel and stride 3": ("wav2vec2", ADAPTED | {"num_adapter_layers": 2, "adapter_stride": 3}),
    "more frames": ("wav2vec2", ADAPTED | {"num_adapter_layers": 1, "adapter_kernel_size": 1, "adapter_stride": 1}),
    "adapter of another width": ("wav2vec2", ADAPTED | {"output_hidden_size": 4}),
    "conformer's adapter": ("wav2vec2-conformer", ADAPTED),
    "wavlm's adapter": ("wavlm", ADAPTED | {"num_buckets": 8, "adapter_kernel_size": 4}),
    "data2vec's adapter": (
        "data2vec-audio",
        ADAPTED | {"num_conv_pos_embeddings": 2, "num_adapter_layers": 2, "adapter_kernel_size": 5},
    ),
    "bert": ("wav2vec2-bert", SMALL),
    "bert's adapter": ("wav2vec2-bert", ADAPTED),
    "bert's adapter of kernel 5": ("wav2vec2-bert", ADAPTED | {"num_adapter_layers": 2, "adapter_kernel_size": 5}),
    "bert's adapter of stride 3": ("wav2vec2-bert", ADAPTED | {"num_adapter_layers": 2, "adapter_stride": 3}),
}
LENGTHS = (3_999, 4_000, 4_321, 5_119, 5_120, 6_000, 6_560, 6_719, 6_721, 7_040, 7_200, 12_345, 16_000)


def stock_frames(model: Any, num_samples: int) -> int:
    """The frames of a stock model's logits, of noise."""
    noise = torch.randn(1, num_samples)
    if model.config.model_type != "wav2vec2-bert":
        return int(model(noise).logits.shape[1])
    inputs = SeamlessM4TFeatureExtractor()(noise[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    # Where the frames of 10 ms are odd in number, it pads one and has it masked.
    true_frames = inputs.attention_mask.sum()
    return int(model(inputs.input_features[:, :true_frames]).logits.shape[1])


@pytest.mark.parametrize("name", MODELS)
def test_frames_are_as_many_as_a_stock_model_makes(name: str) -> None:
    family, settings = MODELS[name]
    config = CONFIG_MAPPING[family](**settings)
    geometry = geometry_of(config.to_dict())
    model = AutoModelForCTC.from_config(config).eval()
    with torch.no_grad():
        made = [stock_frames(model, num_samples) for num_samples in LENGTHS]
    assert [geometry.num_frames(num_samples) for num_samples in LENGTHS] == made
    assert geometry.num_frames(np.array(LENGTHS)).tolist() == made
    seconds = 100
    expected = seconds * 16_000 / geometry.stride_samples
    assert geometry.num_frames(seconds * 16_000) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("family", sorted({family for family, _ in MODELS.values()}))
@pytest.mark.parametrize("add_adapter", [False, True])
def test_what_a_configuration_does_not_say_is_transformers_default(family: str, add_adapter: bool) -> None:
    said: dict[str, Any] = {"model_type": family}
    if add_adapter:
        said["add_adapter"] = True
    assert geometry_of(said) == geometry_of(CONFIG_MAPPING[family](**said).to_dict())
    assert geometry_of({}) == WAV2VEC2


def test_num_frames_of_wav2vec2() -> None:
    # one second is 49 frames, and 400 samples are the shortest input with a frame
    for samples, expected in ((16_000, 49), (400, 1), (399, 0), (9, 0), (0, 0)):
        assert WAV2VEC2.num_frames(samples) == expected
    samples_array = np.array([16_000, 400, 399, 0])
    assert WAV2VEC2.num_frames(samples_array).tolist() == [49, 1, 0, 0]
    assert samples_array.tolist() == [16_000, 400, 399, 0]


def test_an_adapter_makes_nothing_of_no_frames() -> None:
    wide = FrameGeometry(WAV2VEC2.stem, adapter=(Convolution(kernel=1, stride=1, padding=1),))
    assert [wide.num_frames(samples) for samples in (0, 399, 400)] == [0, 0, 3]
    narrow = FrameGeometry(WAV2VEC2.stem, adapter=(Convolution(kernel=7, stride=2, padding=1),))
    assert narrow.num_frames(np.array([400, 1_000, 16_000])).tolist() == [0, 0, 23]


@pytest.mark.parametrize(("kernel", "padding", "layers"), [(3, 1, 3), (5, 1, 1), (5, 1, 3), (1, 1, 1), (7, 3, 2)])
def test_a_frame_starts_where_the_middle_of_its_input_does(kernel: int, padding: int, layers: int) -> None:
    """By the encoder's frames that change a frame of torch's convolutions."""
    convolutions = [torch.nn.Conv1d(1, 1, kernel, stride=2, padding=padding, bias=False) for _ in range(layers)]
    for convolution in convolutions:
        torch.nn.init.ones_(convolution.weight)
    frames = torch.zeros(1, 1, 400, requires_grad=True)
    number = 10
    torch.nn.Sequential(*convolutions)(frames)[0, 0, number].backward()
    seen = torch.nonzero(frames.grad[0, 0])
    middle = (seen.min() + seen.max()).item() / 2
    geometry = FrameGeometry(WAV2VEC2.stem, adapter=(Convolution(kernel, 2, padding),) * layers)
    assert number * geometry.stride_samples + geometry.offset_samples == middle * WAV2VEC2.stride_samples


@pytest.mark.parametrize(("labels", "frames"), [("", 0), ("a", 1), ("ab", 2), ("aab", 4), ("aaaa", 7), ([1, 1, 2], 4)])
def test_frames_that_ctc_needs(labels: str | list[int], frames: int) -> None:
    assert frames_needed(labels) == frames
