"""Waveforms to logits, loss and text.

Shapes: B utterances of a pass, T samples, F frames, L labels, V vocabulary.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from asrscale.model.adapter import set_adapter_lengths
from asrscale.model.attention_modules import masks_made_unseen
from asrscale.model.families import CtcModel, adapter_layers_of, geometry_of_model, stem_of
from asrscale.model.log_mel import log_mel_features
from asrscale.model.recognizer import Recognizer
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.pcm import PCM_SCALE

WAVEFORM_EPSILON = 1e-7  # what transformers' Wav2Vec2FeatureExtractor adds to the variance of a waveform


def count_frames(model: CtcModel, num_samples: Tensor) -> Tensor:
    """Returns the (B,) frames that the logits of utterances of (B,) samples have.

    transformers' own arithmetic is right for adapters of kernel 3 only.
    """
    frames: Tensor = geometry_of_model(model).num_frames(cast(Any, num_samples))
    return frames


def count_encoder_frames(model: CtcModel, num_samples: Tensor) -> Tensor:
    """Returns the (B,) frames that the encoder gets of utterances of (B,) samples; an adapter makes fewer of them."""
    frames: Tensor = geometry_of_model(model).num_encoder_frames(cast(Any, num_samples))
    return frames


def has_padded_frames(recognizer: Recognizer, num_samples: Tensor, padded_samples: int) -> bool:
    """Returns whether a pass has frames behind those of an utterance, so that attention needs a mask.

    Args:
        recognizer: Its model decides how many frames samples make.
        num_samples: (B,) true lengths, on the host, which then need not ask a device.
        padded_samples: T, to which all are padded.
    """
    geometry = recognizer.geometry
    frames = geometry.num_encoder_frames(num_samples.numpy())
    return bool((frames < max(1, geometry.num_encoder_frames(padded_samples))).any())


def forward_logits(
    model: nn.Module,
    recognizer: Recognizer,
    waveforms: Tensor,
    num_samples: Tensor,
    *,
    has_padding: bool = True,
) -> Tensor:
    """Returns the logits (B, F, V) of a padded batch; those of an utterance's own frames do not depend on its padding.

    Args:
        model: The model of `recognizer`, or the training engine around it.
        recognizer: Says how the waveforms are prepared.
        waveforms: (B, T) int16, zero after each utterance's end.
        num_samples: (B,) true lengths.
        has_padding: As `has_padded_frames` says; without any, attention gets no mask, which changes no logit.
    """
    if stem_of(recognizer.model) is not None:
        samples = waveforms.float().div_(PCM_SCALE)
        return logits_of_samples(model, recognizer, samples, num_samples, has_padding=has_padding)

    encoder_frames = _announce_lengths(recognizer.model, num_samples)
    features = log_mel_features(waveforms, num_samples, recognizer.processor.feature_extractor)
    # Of no real frame, attention would be a mean over nothing.
    is_real = _is_real(features, encoder_frames.clamp(min=1))
    return _logits(model, features.to(recognizer.model.dtype), is_real, has_padding=has_padding)


def logits_of_samples(
    model: nn.Module, recognizer: Recognizer, samples: Tensor, num_samples: Tensor, *, has_padding: bool = True
) -> Tensor:
    """Returns what `forward_logits` does, of (B, T) samples in [-1, 1]; for families that take waveforms."""
    stem = stem_of(recognizer.model)
    assert stem is not None, "a model that takes waveforms"
    stem.num_samples = num_samples
    if adapter_layers_of(recognizer.model):
        _announce_lengths(recognizer.model, num_samples)
    is_real = _is_real(samples, num_samples)
    # Utterances of equally many frames may still have more and fewer samples.
    if recognizer.processor.feature_extractor.do_normalize:
        samples = standardise_samples(samples, num_samples, is_real)
    return _logits(model, samples.to(recognizer.model.dtype), is_real, has_padding=has_padding)


def standardise_samples(samples: Tensor, num_samples: Tensor, is_real: Tensor) -> Tensor:
    """Returns (B, T) samples with zero mean and unit variance over the real ones of each row, and 0 behind them.

    As `padding.standardise` to the last bit, but in place, without a gradient: in a fifth of the time, which is a
    twentieth of a step of a small model on a CPU.
    """
    count = num_samples[:, None]
    standardised = samples * is_real
    standardised -= standardised.sum(-1, keepdim=True) / count
    variance = standardised.square().mul_(is_real).sum(-1, keepdim=True) / count
    standardised *= torch.rsqrt(variance + WAVEFORM_EPSILON)
    standardised *= is_real
    return standardised


def _logits(model: nn.Module, inputs: Tensor, is_real: Tensor, *, has_padding: bool) -> Tensor:
    """Returns the logits (B, F, V) of inputs (B, …), of which those are padding for which `is_real` (B, …) is false."""
    is_needed = has_padding or getattr(model, "takes_lengths_from_mask", False)
    with masks_made_unseen():
        logits: Tensor = model(inputs, attention_mask=is_real.long() if is_needed else None).logits
    return logits


def _announce_lengths(model: CtcModel, num_samples: Tensor) -> Tensor:
    """Tells a model's adapter the lengths of a pass; returns the (B,) frames that its encoder gets."""
    encoder_frames = count_encoder_frames(model, num_samples)
    set_adapter_lengths(model, encoder_frames)
    return encoder_frames


def _is_real(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Returns whether an input of (B, …) is one of the first (B,) of its row, and not the padding after them."""
    return torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]


def ctc_losses(logits: Tensor, num_frames: Tensor, labels: Tensor, num_labels: Tensor, blank: int) -> Tensor:
    """Returns the (B,) CTC loss of each utterance divided by its label length, in fp32.

    Args:
        logits: (B, F, V) in any precision, on any device.
        num_frames: (B,) true frames of each utterance; the logits after them are not used. On the host, where torch
            wants them: it would wait for a GPU to copy them from there.
        labels: (B, L) token ids.
        num_labels: (B,) true label lengths, at least 1; the labels after them are not used. On the host, too.
        blank: The id of CTC's blank.
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    # What torch.nn.functional.ctc_loss calls in the end. It would copy the labels to the host first, to ask which
    # kernel to take; and that of cuDNN has returned wrong gradients (pytorch#21680).
    losses: Tensor = torch.ops.aten._ctc_loss.Tensor(log_probs, labels, num_frames, num_labels, blank)[0]
    return losses / num_labels.to(losses.device, non_blocking=True)


def greedy_texts(recognizer: Recognizer, logits: Tensor, num_frames: Tensor) -> list[str]:
    """Returns the text of each utterance's best path, of logits (B, F, V) and (B,) true frames, best on the host.

    The best path has the likeliest token of each frame. It is found on the device, and only token ids are copied.
    """
    paths = logits.argmax(-1).cpu()
    vocabulary = recognizer.vocabulary
    return [
        text_of_path(path[:frames].tolist(), vocabulary)
        for path, frames in zip(paths, num_frames.tolist(), strict=True)
    ]
