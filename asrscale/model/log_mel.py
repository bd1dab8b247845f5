"""Log-mel features of padded waveforms on any device, as transformers' SeamlessM4TFeatureExtractor makes them of one.

Shapes: B utterances of a pass, T samples, W windows of 25 ms every 10 ms, M bins, F frames of several windows.
"""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import SeamlessM4TFeatureExtractor

from asrscale.speech.frames import LOG_MEL_WINDOW

# Kaldi's, which the extractor follows.
_FFT_SAMPLES = 512
_PREEMPHASIS = 0.97
_MEL_FLOOR = 1.192092955078125e-07

_NORM_EPSILON = 1e-7  # what the extractor adds to the variance of a bin


def log_mel_features(waveforms: Tensor, num_samples: Tensor, extractor: SeamlessM4TFeatureExtractor) -> Tensor:
    """Returns the features (B, F, N × M) of waveforms, N windows a frame, normalised over an utterance's own windows.

    They are computed in fp64, as the extractor does: in fp32, rounding is louder than what little a tone has in the
    bins beside it. That is some five million operations a second of audio, of the 10^11 of a large model.

    Args:
        waveforms: (B, T) int16, zero after each utterance's end.
        num_samples: (B,) true lengths.
        extractor: Says how many windows make a frame; windows at the end that make none are left out.
    """
    num_windows = LOG_MEL_WINDOW.num_outputs(num_samples).clamp(min=0)  # type: ignore[type-var]
    features = _standardise_bins(_log_mel(waveforms.double(), extractor), num_windows).float()
    B, W, M = features.shape
    F = W // extractor.stride
    return features[:, : F * extractor.stride].reshape(B, F, extractor.stride * M)


def _log_mel(waveforms: Tensor, extractor: SeamlessM4TFeatureExtractor) -> Tensor:
    """Returns the logarithm (B, W, M) of the energies of waveforms (B, T), samples from -32768 to 32767."""
    window = torch.as_tensor(extractor.window).to(waveforms.device, non_blocking=True)
    filters = torch.as_tensor(extractor.mel_filters).to(waveforms.device, non_blocking=True)
    frames = waveforms.unfold(-1, LOG_MEL_WINDOW.kernel, LOG_MEL_WINDOW.stride)
    frames = frames - frames.mean(-1, keepdim=True)
    # The first sample has no sample before it: it counts as its own, as in Kaldi.
    before = functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
    frames = (frames - _PREEMPHASIS * before) * window
    spectrum = torch.fft.rfft(frames, _FFT_SAMPLES)
    energies = torch.view_as_real(spectrum).square().sum(-1)
    return (energies @ filters).clamp(min=_MEL_FLOOR).log()


def _standardise_bins(features: Tensor, num_windows: Tensor) -> Tensor:
    """Returns features (B, W, M) with zero mean and unit variance of each bin over (B,) windows, then zeros."""
    count = num_windows[:, None, None]
    is_own = torch.arange(features.shape[1], device=features.device)[:, None] < count
    mean = (features * is_own).sum(1, keepdim=True) / count.clamp(min=1)
    centred = (features - mean) * is_own
    variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + _NORM_EPSILON)
