import numpy as np
import pytest
import torch
from conftest import speak
from helpers.models import noise
from transformers import SeamlessM4TFeatureExtractor

from asrscale.model.log_mel import log_mel_features
from asrscale.speech.frames import geometry_of
from asrscale.speech.pcm import to_pcm16

BERT = geometry_of({"model_type": "wav2vec2-bert"})


def stock_features(waveform: torch.Tensor, stacked: int = 2) -> torch.Tensor:
    extractor = SeamlessM4TFeatureExtractor(stride=stacked)
    samples = waveform.numpy().astype(np.float32) / 32_768
    inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt", pad_to_multiple_of=None)
    return inputs.input_features[0]


def chirp() -> torch.Tensor:
    seconds = torch.arange(16_000) / 16_000
    return (3_000 * torch.sin(3_000 * seconds**2)).to(torch.int16)


# None repeats itself exactly: of a pure tone, the variance of a bin is the rounding of the extractor's own fp32.
SOUNDS = {
    "noise": noise(16_000)[0][0],
    "a chirp": chirp(),
    "tones of letters": torch.from_numpy(to_pcm16(speak("bad dogs and big", seed=1))[:16_000]),
    "noise after digital silence": torch.cat([torch.zeros(8_000, dtype=torch.int16), noise(8_000)[0][0]]),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_features_are_those_of_the_stock_extractor(sound: str) -> None:
    waveform = SOUNDS[sound]
    features = log_mel_features(waveform[None], torch.tensor([len(waveform)]), SeamlessM4TFeatureExtractor())[0]
    expected = stock_features(waveform)
    assert features.shape == expected.shape == (49, 160)
    assert torch.allclose(features, expected, atol=2e-5)


@pytest.mark.parametrize("stacked", [1, 2, 3])
def test_those_of_an_utterance_do_not_depend_on_its_padding(stacked: int) -> None:
    """Windows at the end that do not fill a frame count in the mean and the variance, as in the stock extractor."""
    waveforms, lengths = noise(*range(16_000, 18_000, 160))
    features = log_mel_features(waveforms, lengths, SeamlessM4TFeatureExtractor(stride=stacked))
    for row, length in enumerate(lengths.tolist()):
        expected = stock_features(waveforms[row, :length], stacked)
        own = features[row, : len(expected)]
        assert torch.allclose(own, expected, atol=1e-4)


def test_utterances_of_no_window_or_one_have_finite_features() -> None:
    waveforms, _ = noise(16_000, 16_000, 16_000)
    lengths = torch.tensor([10, 400, 560])
    features = log_mel_features(waveforms, lengths, SeamlessM4TFeatureExtractor())
    assert torch.isfinite(features).all()
    assert [BERT.num_frames(length) for length in lengths.tolist()] == [0, 0, 1]
